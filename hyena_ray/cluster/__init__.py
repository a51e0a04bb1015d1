"""Ray: start, resources, data streams and the exactly-once pool of shard workers."""
