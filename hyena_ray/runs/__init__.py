"""A run is one thing: a folder with a kind, a plan, a lock, and a manifest that is written last.

Every job that leaves results is a run. Its `Plan` holds what decides the result, and equal
fingerprints give equal results; `start` locks the folder and compares its plan with that of an
earlier start; its `Record` becomes `manifest.json` once everything else is complete, so that the
file's presence means complete. `read_kind` tells what any folder is.

The face of the room: `Plan`, `Record`, `Run`, `start`, `check_output`, `check_resume`, `read_kind`,
`KINDS`, and in `runs.shards` the files of work that is cut into shards.
"""
