"""Decoder of binary glTF files for tests, written from the specification."""

import io

import numpy as np
from PIL import Image

from fitme.export.gltf.glb import read_glb


class Reader:
    """Independent decoder of accessors, written from the specification."""

    def __init__(self, content: bytes) -> None:
        self.document, self.binary = read_glb(content)

    def view(self, index: int) -> bytes:
        view = self.document["bufferViews"][index]
        return self.binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]]

    def accessor(self, index: int) -> np.ndarray:
        accessor = self.document["accessors"][index]
        dtype = {5126: "<f4", 5121: "<u1", 5123: "<u2", 5125: "<u4"}[accessor["componentType"]]
        shape = (accessor["count"], {"SCALAR": 1, "VEC2": 2, "VEC3": 3, "VEC4": 4, "MAT4": 16}[accessor["type"]])
        values = np.zeros(shape, dtype)
        if "bufferView" in accessor:
            values = np.frombuffer(self.view(accessor["bufferView"]), dtype).reshape(shape).copy()
        if "sparse" in accessor:
            sparse = accessor["sparse"]
            index_type = {5123: "<u2", 5125: "<u4"}[sparse["indices"]["componentType"]]
            indices = np.frombuffer(self.view(sparse["indices"]["bufferView"]), index_type)
            assert len(indices) == sparse["count"]
            values[indices] = np.frombuffer(self.view(sparse["values"]["bufferView"]), dtype).reshape(-1, shape[1])
        return values

    def count(self, index: int) -> int:
        return self.document["accessors"][index]["count"]

    def image(self, name: str) -> np.ndarray:
        image = next(image for image in self.document["images"] if image["name"] == name)
        return np.asarray(Image.open(io.BytesIO(self.view(image["bufferView"]))))

    def triangles(self, mesh: dict, weights: dict[str, float]) -> np.ndarray:
        """(F, 3, 3) corners of all triangles of a mesh with the given blendshapes."""
        names = mesh["extras"]["targetNames"]
        corners = []
        for primitive in mesh["primitives"]:
            positions = self.accessor(primitive["attributes"]["POSITION"])
            for name, weight in weights.items():
                if name in names:
                    target = primitive["targets"][names.index(name)]
                    positions = positions + weight * self.accessor(target["POSITION"])
            corners.append(positions[self.accessor(primitive["indices"])[:, 0]].reshape(-1, 3, 3))
        return np.concatenate(corners)
