"""Ray, and nothing else: what a job needs of a cluster.

The face of the room: `start.connect` joins a cluster or starts one; `resources` says what fits into
it, without an import of Ray, and `gpu_share` holds a process to what it got; `pool.run_shards` and
`pool.run_task` run work on it, each shard exactly once; `streams` holds the data that workers read;
`workers.run_on_workers` trains a run in several processes; `monitor` says how far the work is, and
ends what makes no progress.
"""
