"""What `jobs/benchmark.py` can time: one module a room, a function a name."""
