"""Ray, and nothing else: what a job needs of a cluster.

What other rooms use: `start.connect` joins a cluster or starts one. `resources` works out what fits
into it, without importing Ray, and `gpu_share` limits a process to the GPUs it was given.
`pool.run_shards` and `pool.run_task` run work on the cluster, each shard exactly once.
`feeds.share_data` makes training windows available to workers, shared or streamed, and `streams`
the genome of a pretraining. `workers.run_on_workers` trains a run in several processes.
`monitor` reports progress, and stops work that makes none.
"""
