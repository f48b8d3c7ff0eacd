"""The neutral avatar as a Wavefront OBJ with materials and textures, made from its GLB: same frame, parts and names.

For programs that take no glTF, such as Mesh to MetaHuman. Upright, metres, +Y up, the face along +Z, the origin midway
between the eyes, or, with a body, on the ground. Blendshapes and skeleton have no place in the format.
"""

import io
from pathlib import Path

import numpy as np
from PIL import Image

from fitme.arrays import Float32Array, Int64Array
from fitme.export.gltf.glb import Json, read_glb

_TYPES = {5126: "<f4", 5125: "<u4", 5123: "<u2", 5121: "<u1"}
_WIDTHS = {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4}
SHININESS_OF_ROUGHNESS = 2.0
"""Numerator of the Blinn-Phong exponent s = 2 / roughness^4 - 2: see `fitme.export.gltf.avatar`."""
DIELECTRIC_REFLECTANCE = 0.04


def write_obj_scene(glb: bytes, path: Path) -> list[Path]:
    """Write an avatar's GLB as `path`, with a `.mtl` and its textures beside it; returns all paths."""
    document, binary = read_glb(glb)
    textures = _write_textures(document, binary, path)
    library = path.with_suffix(".mtl")
    lines = [f"# FitMe: metres, +Y up, the face along +Z\nmtllib {library.name}\n"]
    first = np.ones(3, np.int64)
    tints: dict[int, Float32Array] = {}
    for node in document["nodes"]:
        if "mesh" not in node:
            continue
        lines.append(f"o {node['name']}\n")
        move = np.array(node.get("translation", (0.0, 0.0, 0.0)))
        for primitive in document["meshes"][node["mesh"]]["primitives"]:
            arrays = {name: _array(document, binary, index) for name, index in primitive["attributes"].items()}
            triangles = _array(document, binary, primitive["indices"]).reshape(-1, 3).astype(np.int64)
            material = primitive["material"]
            if "baseColorTexture" not in document["materials"][material]["pbrMetallicRoughness"]:
                tints[material] = np.asarray(arrays["COLOR_0"][:, :3].mean(0) / 255.0, np.float32)
            lines.append(f"usemtl {document['materials'][material]['name']}\n")
            lines += _primitive(arrays, triangles, move, first)
    path.write_text("".join(lines), encoding="ascii")
    materials = [
        _material(document, number, textures, tints.get(number)) for number in range(len(document["materials"]))
    ]
    library.write_text("\n".join(materials), encoding="ascii")
    return [path, library, *(path.with_name(name) for name in textures.values())]


def _primitive(
    arrays: dict[str, Float32Array], triangles: Int64Array, move: Float32Array, first: Int64Array
) -> list[str]:
    """Lines of a primitive; `first` (3,) numbers of its first position, texture coordinate and normal are advanced."""
    points, normals = arrays["POSITION"] + move, arrays["NORMAL"]
    uv = arrays.get("TEXCOORD_0", np.zeros((0, 2), np.float32))
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}\n" for x, y, z in points.tolist()]
    lines += [f"vt {u:.6f} {1.0 - v:.6f}\n" for u, v in uv.tolist()]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in normals.tolist()]
    at, at_uv, at_normal = first.tolist()
    for triangle in triangles.tolist():
        places = (f"{c + at_uv}" if len(uv) else "" for c in triangle)
        corners = (f"{c + at}/{place}/{c + at_normal}" for c, place in zip(triangle, places, strict=True))
        lines.append("f " + " ".join(corners) + "\n")
    first += (len(points), len(uv), len(normals))
    return lines


def _material(document: Json, number: int, textures: dict[int, str], tint: Float32Array | None) -> str:
    """Lines of a material: diffuse colour or texture, mean specular colour, exponent, opacity, normal map."""
    material = document["materials"][number]
    surface = material["pbrMetallicRoughness"]
    color = np.array(surface.get("baseColorFactor", (1.0, 1.0, 1.0, 1.0)))
    linear = color[:3] * (1.0 if tint is None else tint)
    exponent = max(SHININESS_OF_ROUGHNESS / max(surface["roughnessFactor"], 0.05) ** 4 - 2.0, 0.0)
    specular = material.get("extensions", {}).get("KHR_materials_specular", {}).get("specularFactor", 1.0)
    lines = [
        f"newmtl {material['name']}",
        "Kd " + " ".join(f"{value:.4f}" for value in linear),
        "Ks " + " ".join([f"{DIELECTRIC_REFLECTANCE * specular:.4f}"] * 3),
        f"Ns {min(exponent, 1000.0):.1f}",
        f"d {color[3]:.3f}",
        "illum 2",
    ]
    if "baseColorTexture" in surface:
        name = textures[document["textures"][surface["baseColorTexture"]["index"]]["source"]]
        lines.append(f"map_Kd {name}")
        if material.get("alphaMode", "OPAQUE") != "OPAQUE":
            lines.append(f"map_d -imfchan m {name}")
    if "normalTexture" in material:
        lines.append(f"norm {textures[document['textures'][material['normalTexture']['index']]['source']]}")
    return "\n".join(lines) + "\n"


def _write_textures(document: Json, binary: bytes, path: Path) -> dict[int, str]:
    """File name of each image, beside `path`."""
    names = {}
    for number, image in enumerate(document["images"]):
        view = document["bufferViews"][image["bufferView"]]
        names[number] = f"{path.stem}_{image['name']}.png"
        opened = Image.open(io.BytesIO(binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]))
        opened.save(path.with_name(names[number]))
    return names


def _array(document: Json, binary: bytes, index: int) -> Float32Array:
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    content = binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]
    values = np.frombuffer(content, _TYPES[accessor["componentType"]])
    return np.asarray(values.reshape(accessor["count"], _WIDTHS[accessor["type"]]))
