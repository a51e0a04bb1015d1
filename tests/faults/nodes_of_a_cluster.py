"""A cluster whose head runs nothing: prints its address, then the raylet of a node per line read.

In a process of its own, since Ray reads how to ask for a token once in each.
"""

from __future__ import annotations

import sys

from ray.cluster_utils import Cluster

STORE = 200_000_000

if __name__ == "__main__":
    options = {"num_cpus": 0, "object_store_memory": STORE, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=options)
    print(cluster.address, flush=True)
    for line in sys.stdin:
        node = cluster.add_node(num_cpus=float(line), object_store_memory=STORE)
        print(node.all_processes["raylet"][0].process.pid, flush=True)
    cluster.shutdown()
