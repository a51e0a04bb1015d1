"""One HTML page about a run, for people to read, print or send.

`write_report` writes it. `contents.read_contents` reads a run's folder into a record of its kind
(`run_contents`), `sections.SECTIONS` registers the sections that the page of each kind shows, and
the templates of the page are files in `templates/`. The other modules serve this room alone.
"""
