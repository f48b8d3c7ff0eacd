"""A Ray cluster whose nodes are processes of this machine, for measurements: a head without cores, and engine nodes."""

import os
import random
from typing import Any

from fitme.errors import BackendError

STORE_BYTES = 100 * 1024 * 1024
"""Ray's memory for objects on each node: they are frames and pieces under way."""
ENVIRONMENT = {"RAY_memory_monitor_refresh_ms": "0", "RAY_enable_metrics_collection": "0"}


class RayCluster:
    """Use as a context manager."""

    def __init__(self, nodes: int, cores: int) -> None:
        """
        :param cores: of each node, as Ray counts them: how many workers of one core fit on it.
        """
        self._count, self._cores = nodes, cores

    @property
    def address(self) -> str:
        """Address of an engine: ``ray://HOST:PORT``."""
        return f"ray://{self._cluster.address}"

    def __enter__(self) -> "RayCluster":
        """
        :raises BackendError: if Ray is not installed.
        """
        try:
            from ray.cluster_utils import Cluster
        except ImportError as error:
            raise BackendError("this benchmark needs the package ray: pip install 'fitme[cluster]'") from error
        os.environ.update(ENVIRONMENT)
        head = {"num_cpus": 0, "object_store_memory": STORE_BYTES, "include_dashboard": False}
        self._cluster: Any = Cluster(initialize_head=True, head_node_args=head, shutdown_at_exit=False)
        for _ in range(self._count):
            self.add_node()
        return self

    def __exit__(self, *_: object) -> None:
        self._cluster.shutdown()

    def add_node(self) -> None:
        """Start one more node; blocks."""
        self._cluster.add_node(num_cpus=self._cores, object_store_memory=STORE_BYTES)

    def kill_node(self, rng: random.Random) -> None:
        """Kill all of Ray's processes of a random engine node, and so its workers; blocks."""
        nodes = sorted(self._cluster.worker_nodes, key=lambda node: str(node.node_id))
        self._cluster.remove_node(rng.choice(nodes), allow_graceful=False)
