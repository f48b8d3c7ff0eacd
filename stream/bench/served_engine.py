"""A server with the engine that a measurement is to be made on."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from stream.bench.object_server import BUCKET, ObjectServer
from stream.bench.ray_cluster import RayCluster
from stream.bench.server_process import ServerProcess

ENGINE_VARIABLE = "FITME_ENGINE"
"""Environment variable with the engine: ``local``, ``ray`` for a cluster of two nodes on this machine, or an address
``ray://HOST:PORT``."""
LOCAL, ENGINE_ON_THIS_MACHINE = "local", "ray"
NODES = 2
WORKER_CORES = 1.0


def chosen_engine() -> str:
    """The engine that the environment names; the local one if it names none."""
    return os.environ.get(ENGINE_VARIABLE, LOCAL)


@contextlib.contextmanager
def served_by(engine: str, people: int, module: str = "stream", workers: int = NODES) -> Iterator[ServerProcess]:
    """A server with an engine.

    :param engine: ``local``, ``ray`` (a cluster of `workers` nodes on this machine), or an address ``ray://HOST:PORT``.
    :param module: see `ServerProcess`.
    :param workers: of an engine on Ray.
    :raises BackendError: if what the engine needs is not installed.
    """
    with contextlib.ExitStack() as running:
        folder = Path(running.enter_context(tempfile.TemporaryDirectory()))
        limits = dict.fromkeys(("limit", "per_address_limit"), people)
        settings: dict[str, Any] = {"engine": engine, "session": limits}
        options = ["--config", str(folder / "serve.yaml")]
        if engine != LOCAL:
            objects = running.enter_context(ObjectServer())  # first: what runs on the nodes inherits its credentials
            if engine == ENGINE_ON_THIS_MACHINE:
                settings["engine"] = running.enter_context(RayCluster(workers, round(WORKER_CORES))).address
            settings["object_store"] = {"endpoint": objects.address}
            settings["ray"] = {"workers": workers, "cpus": WORKER_CORES}
            options += ["--store", f"s3://{BUCKET}/load"]
        (folder / "serve.yaml").write_text(yaml.safe_dump(settings))
        server = running.enter_context(ServerProcess(folder, *options, module=module))
        if engine != LOCAL:
            server.wait_for_workers(workers)
        yield server
