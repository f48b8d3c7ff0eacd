"""Smaller GLB files: WebP or KTX2 textures, geometry by meshopt or Draco.

WebP is written here. The others are written by programs that Node.js brings: `gltfpack` (meshopt) and `gltf-transform`
(Draco, KTX2, which needs `ktx` of KTX-Software as well). They drop the extension that makes a VRM of a file.
"""

import io
import shutil
import subprocess
import tempfile
from enum import StrEnum
from pathlib import Path

from PIL import Image

from fitme.errors import BackendError
from fitme.export.gltf.glb import read_glb, write_document

WEBP_QUALITY = 90
"""Of 100, for colours; specular and normal maps are as sensitive to it."""
WEBP_EXTENSION = "EXT_texture_webp"
LONGEST_RUN_S = 300.0
"""Time after which an external program is given up."""


class Compression(StrEnum):
    """How geometry and blendshapes are compressed."""

    MESHOPT = "meshopt"
    DRACO = "draco"


class TextureFormat(StrEnum):
    """Format of textures."""

    WEBP = "webp"
    KTX2 = "ktx2"


def compressed(glb: bytes, compression: Compression | None, textures: TextureFormat | None) -> bytes:
    """A GLB file with other textures and compressed geometry.

    :raises BackendError: if the program that it takes is not installed, or fails.
    """
    if textures is TextureFormat.WEBP:
        glb = with_webp(glb)
    elif textures is TextureFormat.KTX2:
        _tool("ktx", "--textures ktx2 needs ktx of KTX-Software (https://github.com/KhronosGroup/KTX-Software)")
        glb = _transformed(glb, [_gltf_transform("--textures ktx2"), "etc1s", "{input}", "{output}"])
    if compression is Compression.MESHOPT:
        gltfpack = _tool("gltfpack", "--compress meshopt needs gltfpack: npm install -g gltfpack")
        # Names of nodes and materials and the blendshapes' names (extras) stay.
        glb = _transformed(glb, [gltfpack, "-i", "{input}", "-o", "{output}", "-cc", "-kn", "-km", "-ke"])
    elif compression is Compression.DRACO:
        glb = _transformed(glb, [_gltf_transform("--compress draco"), "draco", "{input}", "{output}"])
    return glb


def with_webp(glb: bytes) -> bytes:
    """A GLB file whose PNG images are WebP ones (`EXT_texture_webp`)."""
    document, binary = read_glb(glb)
    replaced: dict[int, bytes] = {}
    for image in document["images"]:
        view = document["bufferViews"][image["bufferView"]]
        opened = Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
        buffer = io.BytesIO()
        alpha = opened.mode in ("LA", "RGBA")
        # `exact` keeps the colours of transparent texels, into which filtered samples reach.
        opened.convert("RGBA" if alpha else "RGB").save(buffer, "WEBP", quality=WEBP_QUALITY, method=6, exact=True)
        replaced[image["bufferView"]] = buffer.getvalue()
        image["mimeType"] = "image/webp"
    for texture in document["textures"]:
        texture["extensions"] = {WEBP_EXTENSION: {"source": texture.pop("source")}}
    for key in ("extensionsUsed", "extensionsRequired"):
        document.setdefault(key, []).append(WEBP_EXTENSION)
    return write_document(document, binary, replaced)


def _gltf_transform(option: str) -> str:
    return _tool("gltf-transform", f"{option} needs gltf-transform: npm install -g @gltf-transform/cli")


def _tool(name: str, missing: str) -> str:
    """Path of a program: one on the search path, or of the folder's own `node_modules`."""
    found = shutil.which(name) or shutil.which(name, path=str(Path("node_modules") / ".bin"))
    if found is None:
        raise BackendError(missing)
    return found


def _transformed(glb: bytes, command: list[str]) -> bytes:
    """What a program makes of a file; `{input}` and `{output}` in its command are the files' paths."""
    with tempfile.TemporaryDirectory() as folder:
        paths = {"input": str(Path(folder) / "in.glb"), "output": str(Path(folder) / "out.glb")}
        Path(paths["input"]).write_bytes(glb)
        words = [word.format(**paths) for word in command]
        try:
            run = subprocess.run(words, capture_output=True, text=True, timeout=LONGEST_RUN_S, check=False)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise BackendError(f"{command[0]} failed: {error}") from error
        if run.returncode != 0 or not Path(paths["output"]).is_file():
            said = (run.stderr or run.stdout).strip().splitlines()
            raise BackendError(f"{command[0]} failed: {said[-1] if said else run.returncode}")
        return Path(paths["output"]).read_bytes()
