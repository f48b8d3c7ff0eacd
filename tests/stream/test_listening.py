"""Where `fitme serve` listens, and the address that it prints for a browser on the same machine."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from fitme.errors import ConfigError
from stream.server import _address, _listen
from stream.settings import ServeSettings


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://127.0.0.1:{port}/"),
        ("0.0.0.0", "http://127.0.0.1:{port}/"),
        ("::1", "http://[::1]:{port}/"),
        ("::", "http://[::1]:{port}/"),
    ],
)
def test_the_printed_address_can_be_opened(host: str, shown: str) -> None:
    if ":" in host and not socket.has_ipv6:
        pytest.skip("no IPv6")
    with _listen(host, 0) as listener:
        port = listener.getsockname()[1]
        address = _address(ServeSettings(host=host), port)
        assert address == shown.format(port=port)
        reachable = address.removeprefix("http://").rpartition(":")[0].strip("[]")
        socket.create_connection((reachable, port), timeout=5.0).close()


def test_a_port_in_use_ends_the_command_before_anything_else(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        command = [sys.executable, "-m", "stream", "--port", port, "--store", str(tmp_path / "store")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 2
    assert ended.stdout == ""
    assert ended.stderr.splitlines() == [
        f"fitme serve: cannot listen at 127.0.0.1:{port}: Address already in use; choose another --host or --port"
    ]
    assert not (tmp_path / "store").exists()


def test_a_host_without_an_address_is_an_error() -> None:
    with pytest.raises(ConfigError, match=r"no\.such\.host\.invalid"):
        _listen("no.such.host.invalid", 0)
