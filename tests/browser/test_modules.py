"""The page's modules under Node: syntax, pure logic, and the binary header against the server's own."""

import importlib.util
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from fitme.stage import Stage
from stream.protocol.events import LANDMARK_SCALE
from stream.protocol.render import Codec, Render

HERE = Path(__file__).resolve().parent
CLIENT = HERE.parent.parent / "client"


def _find_node() -> str | None:
    """Node.js of the system, or the one that comes with Playwright's Python package."""
    if found := shutil.which("node"):
        return found
    package = importlib.util.find_spec("playwright")
    bundled = Path(str(package.origin)).parent / "driver" / "node" if package else None
    return str(bundled) if bundled is not None and bundled.is_file() else None


NODE = _find_node()
pytestmark = pytest.mark.skipif(NODE is None, reason="Node.js is not installed")


def _node(*arguments: str, **options) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(NODE), *arguments], capture_output=True, text=True, timeout=60, check=False, **options)


def test_every_module_parses():
    modules = sorted(CLIENT.rglob("*.js"))
    assert modules
    for module in modules:
        checked = _node("--check", str(module))
        assert checked.returncode == 0, checked.stderr


@pytest.mark.parametrize("suite", sorted(path.name for path in HERE.glob("*.test.mjs")))
def test_suite(suite):
    ran = _node("--test", str(HERE / suite))
    assert ran.returncode == 0, ran.stdout + ran.stderr


def test_the_page_reads_what_the_server_packs(tmp_path):
    render = Render(
        sequence=77,
        codec=Codec.JPEG,
        stage=Stage.TUNING.position,
        width=512,
        height=384,
        capture_time_s=1.5,
        received_time_s=2.25,
        rendered_time_s=2.5,
        sent_time_s=2.75,
        pose=(0.25, -0.5, 0.125, 1.0, -2.0, -0.75),
        rounds=9,
        payload=b"\xff\xd8render",
    )
    (tmp_path / "message").write_bytes(render.pack())
    script = f"""
        import {{ readFileSync }} from "node:fs";
        import {{ LANDMARK_SCALE, STAGES, parseRender }} from {json.dumps((CLIENT / "server/messages.js").as_uri())};
        const bytes = readFileSync({json.dumps(str(tmp_path / "message"))});
        const render = parseRender(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));
        console.log(JSON.stringify({{ ...render, payload: [...render.payload], LANDMARK_SCALE, STAGES }}));
    """
    ran = _node("--input-type=module", "--eval", script)
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout) == {
        "sequence": 77,
        "mediaType": "image/jpeg",
        "stage": 4,
        "width": 512,
        "height": 384,
        "captureTime": 1.5,
        "receivedTime": 2.25,
        "renderedTime": 2.5,
        "sentTime": 2.75,
        "pose": {"yaw": 0.25, "pitch": -0.5, "roll": 0.125, "position": [1.0, -2.0, -0.75]},
        "rounds": 9,
        "payload": list(render.payload),
        "LANDMARK_SCALE": LANDMARK_SCALE,
        "STAGES": list(Stage),
    }
