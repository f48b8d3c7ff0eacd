"""What the engine on a cluster needs of Ray: a connection, the answers of its workers, and their end.

Ray is imported once a function here is called.
"""

import asyncio
import contextlib
import logging
import os
from collections.abc import Awaitable, Collection
from dataclasses import dataclass, field
from typing import Any, TypeVar

from stream.engine.interface import EngineError, NotReadyError
from stream.settings import RaySettings

T = TypeVar("T")

LOCAL = "local"
"""In place of a host and a port: a cluster of this machine alone, which ends with the engine."""
LOCAL_STORE_BYTES = 100 * 1024 * 1024
"""Ray's memory for objects in a cluster of this machine: they are frames and pieces under way."""

NODE_LABEL = "ray.io/node-id"
"""Label that Ray gives to each node."""


@dataclass(eq=False)
class Worker:
    """One worker, from when it is asked for until it is lost."""

    number: int
    actor: Any
    ready: bool = False
    node: str | None = None
    """Identifier of the node that it runs on; None while none has taken it."""
    sessions: set[str] = field(default_factory=set)
    serving: "asyncio.Task[None] | None" = None


def connect(address: str, needed: RaySettings) -> bool:
    """Connect this process to a cluster, unless it is connected already; whether that was done. Blocks.

    :param address: ``HOST:PORT``, or `LOCAL`.
    :raises EngineError: if Ray is not installed, or no cluster answers.
    """
    try:
        import ray
    except ImportError as error:
        raise EngineError("engines on Ray need the package ray: pip install 'fitme[cluster]'") from error
    if ray.is_initialized():
        return False
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.WARNING}
    try:
        if address == LOCAL:
            cores = max(os.cpu_count() or 1, int(needed.workers * needed.cpus) + 1)
            ray.init(num_cpus=cores, object_store_memory=LOCAL_STORE_BYTES, include_dashboard=False, **options)
        else:
            ray.init(address=address, **options)
    except (ConnectionError, RuntimeError, ValueError, AssertionError) as error:
        raise EngineError(
            f"no Ray cluster answers at {address}: {error}; this machine must be a node of it, which "
            f"`ray start --address={address} --num-cpus=0` makes it"
        ) from error
    return True


def disconnect() -> None:
    """End the connection that `connect` has made. Blocks."""
    import ray

    ray.shutdown()


def placement(taken: Collection[str]) -> dict[str, Any]:
    """Options of an actor that is to run apart from others: on another node wherever one has room for it.

    :param taken: identifiers of the nodes that the others run on.
    """
    spread: dict[str, Any] = {"scheduling_strategy": "SPREAD"}
    if not taken:
        return spread
    apart = {NODE_LABEL: f"!in({','.join(sorted(taken))})"}
    return spread | {"label_selector": apart, "fallback_strategy": [{"label_selector": {}}]}


async def node_of(worker: Worker) -> str:
    """Identifier of the node that a worker runs on; waits until there is one.

    :raises EngineError: if it is lost.
    """
    return await answer(worker.actor.__ray_call__.remote(_own_node))


def _own_node(_: object) -> str:
    import ray

    return str(ray.get_runtime_context().get_node_id())


async def answer(reference: Awaitable[T]) -> T:
    """What a worker's method returns.

    :raises NotReadyError, EngineError: what it raises, or that the worker is lost.
    """
    from ray.exceptions import RayError

    try:
        return await reference
    except NotReadyError as error:
        raise NotReadyError(str(error.args[0]) if error.args else "") from error
    except RayError as error:
        raise EngineError(str(error)) from error


def kill(worker: Worker) -> None:
    """End a worker's process, if it still runs."""
    import ray
    from ray.exceptions import RayError

    with contextlib.suppress(RayError, ValueError):
        ray.kill(worker.actor)
