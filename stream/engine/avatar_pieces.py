"""An avatar as pieces for pages that draw it: what has changed since the last time, each part small.

Vertices, tiles of the maps and hair are compared with what was sent last; what has changed by less than one would see
is not sent, so that small steps add up until they are.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.avatar import Avatar
from fitme.color import linear_to_bytes
from fitme.export.gltf.hair import hair_codes
from fitme.export.textures import texture_codes
from fitme.glasses.glasses import Glasses
from fitme.glasses.mesh import frame_mesh, lens_mesh
from fitme.hair.compositing import LEAST_COVERAGE
from fitme.hair.envelope import envelope_uv
from fitme.hair.hair import Hair, covered_triangles, hair_surface
from fitme.parts.drawn_head import drawn_head
from fitme.parts.textures import with_strip
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps
from fitme.reflectance.modality import MODALITIES
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from stream.engine.shared_pieces import PackedShared, jpeg, strands_piece
from stream.protocol.avatar import Codes, Piece, PieceKind, Scaled, Slot

TILE_TEXELS = 128
"""Side of a tile: a multiple of JPEG's blocks, so that tiles meet without seams."""
TILE_QUALITY = 94
"""JPEG quality of tiles: its error is about one code."""
LEAST_TILE_CHANGE = 0.75
"""Root mean square change of a tile, in 8-bit codes, from which it is sent again: less than JPEG's own error."""
LEAST_SPOT_CHANGE = 5.0
"""Mean change of a spot of `SPOT_TEXELS` texels from which its tile is sent again, so that a mole is not missed."""
SPOT_TEXELS = 8
LEAST_MOTION_M = 5e-5
"""Displacement of a vertex from which the neutral head is sent again."""
LEAST_HAIR_MOTION_M = 5e-4
"""Displacement of a vertex of the head from which the hair is laid on it again, which takes 0.1 s."""
CODE_LIMIT = 32_767
DIRECTION_STEPS = 127
CORRECTIVE_QUALITY = 85
CORRECTIVE_TEXELS = 256
"""Largest side of a corrective map: correctives are broad."""
HAIR_QUALITY = 90
"""WebP quality of the hair's albedo; its coverage is lossless."""
LIGHT_DIGITS = 5


@dataclass(frozen=True)
class AvatarUpdate:
    """Pieces that have changed, and slots that are no part of the avatar any more."""

    pieces: tuple[Piece, ...]
    dropped: tuple[Slot, ...] = ()
    shared: tuple[PackedShared, ...] = ()
    """Pieces that are everybody's to which `pieces` refer."""


class AvatarEncoder:
    """Encoder of one session's avatar, with what it has encoded last."""

    def __init__(self, model: MorphableModel) -> None:
        self._model = model
        self._drawn = drawn_head(model)
        self._slots: set[Slot] = set()
        self._state: Mapping[str, object] | None = None
        self._neutral: Float32Array | None = None
        self._maps: ReflectanceMaps | None = None
        self._codes: dict[str, UInt8Array] = {}
        """What the pages have of each map."""
        self._hair: Hair | None = None
        self._glasses: Glasses | None = None
        self._hair_neutral: Float32Array | None = None
        self._correctives: AlbedoCorrectives | None = None

    def update(self, avatar: Avatar, light_sh: Float32Array | None) -> AvatarUpdate:
        """Encode what has changed since the last update.

        :param light_sh: (9, 3) illumination of the newest keyframe.
        """
        with torch.no_grad():
            neutral = self._model.neutral(avatar.identity[None])[0].numpy()  # (V, 3)
        before = set(self._slots)
        pieces = [*self._neutral_piece(neutral), *self._tiles(avatar.maps)]
        pieces += self._hair_pieces(avatar.hair, neutral)
        pieces += self._glasses_pieces(avatar.glasses)
        pieces += self._corrective_pieces(avatar.correctives)
        pieces += self._state_piece(avatar, light_sh)
        self._slots |= {piece.slot for piece in pieces}
        shared = (strands_piece(),) if any(piece.slot.kind is PieceKind.HAIR for piece in pieces) else ()
        return AvatarUpdate(tuple(pieces), tuple(before - self._slots), shared)

    def _state_piece(self, avatar: Avatar, light_sh: Float32Array | None) -> list[Piece]:
        """The piece that says how large the maps are and which optional slots are in use."""
        state = {
            "stage": avatar.stage.value,
            "light": None if light_sh is None else np.round(light_sh.astype(float), LIGHT_DIGITS).ravel().tolist(),
            "maps": {
                name: {"index": index, "size": self._codes[name].shape[1], "tile": TILE_TEXELS}
                for index, name in enumerate(MODALITIES.names)
            },
            "hair": avatar.hair is not None,
            "glasses": avatar.glasses is not None,
            "correctives": 0 if avatar.correctives is None else len(avatar.correctives.deltas),
        }
        if state == self._state:
            return []
        self._state = state
        return [Piece(Slot(PieceKind.STATE), state)]

    def _neutral_piece(self, neutral: Float32Array) -> list[Piece]:
        if self._neutral is not None and _motion(neutral, self._neutral) < LEAST_MOTION_M:
            return []
        self._neutral = neutral
        vertices = self._drawn.bound(neutral)
        return [Piece.of_arrays(Slot(PieceKind.NEUTRAL), {"vertices": _positions(vertices)})]

    def _tiles(self, maps: ReflectanceMaps) -> list[Piece]:
        """Tiles of the maps, with the parts' below them, that have changed; all of a map whose size has."""
        if maps is self._maps:
            return []
        self._maps = maps
        whole = with_strip(maps, self._drawn)
        pieces: list[Piece] = []
        for index, modality in enumerate(MODALITIES):
            codes = texture_codes(modality, whole)
            sent = self._codes.get(modality.name)
            if sent is None or sent.shape != codes.shape:
                sent = None
                self._codes[modality.name] = codes.copy()
                self._slots -= {slot for slot in self._slots if slot[:2] == (PieceKind.TILE, index)}
            for tile, (rows, columns) in enumerate(_tile_slices(codes.shape[0], codes.shape[1])):
                part = codes[rows, columns]
                if sent is not None and not _changed(part, sent[rows, columns]):
                    continue
                self._codes[modality.name][rows, columns] = part
                height, width = codes.shape[:2]
                place = {"map": modality.name, "size": width, "height": height, "x": columns.start, "y": rows.start}
                slot = Slot(PieceKind.TILE, index, tile)
                pieces.append(Piece.of_image(slot, "image/jpeg", jpeg(part, TILE_QUALITY), **place))
        return pieces

    def _hair_pieces(self, hair: Hair | None, neutral: Float32Array) -> list[Piece]:
        """Mesh of the hair if it or the skull has changed; its texture with the hair."""
        if hair is None:
            self._hair = None
            self._slots -= {Slot(PieceKind.HAIR), Slot(PieceKind.HAIR_TEXTURE)}
            return []
        changed, placed = hair is not self._hair, self._hair_neutral
        if not changed and placed is not None and _motion(neutral, placed) < LEAST_HAIR_MOTION_M:
            return []
        self._hair, self._hair_neutral = hair, neutral
        surface = hair_surface(hair, self._model, neutral)
        mesh = Piece.of_arrays(
            Slot(PieceKind.HAIR),
            {
                "vertices": _positions(surface.vertices),
                "normals": _directions(surface.normals),
                "strands": _directions(surface.strands),
                "uv": Scaled(np.rint(envelope_uv() * CODE_LIMIT).astype(np.uint16), 1.0 / CODE_LIMIT),
                "triangles": covered_triangles(hair.texture, LEAST_COVERAGE).astype(np.uint16),
            },
            pattern=strands_piece().digest,
        )
        if not changed:
            return [mesh]
        codes = hair_codes(hair.texture)
        image = _webp(codes)
        texture = Piece.of_image(
            Slot(PieceKind.HAIR_TEXTURE), "image/webp", image, width=codes.shape[1], height=codes.shape[0]
        )
        return [mesh, texture]

    def _glasses_pieces(self, glasses: Glasses | None) -> list[Piece]:
        """Meshes of the frame and of tinted lenses, if the glasses have changed."""
        if glasses is self._glasses:
            return []
        self._glasses = glasses
        slot = Slot(PieceKind.GLASSES)
        if glasses is None:
            self._slots -= {slot}
            return []
        opacity = float(glasses.lens_opacity[0])
        meshes = {"frame": frame_mesh(glasses)} | ({"lenses": lens_mesh(glasses)} if opacity > 0.0 else {})
        arrays: dict[str, Codes | Scaled] = {"colors": linear_to_bytes(glasses.albedo)}
        for name, mesh in meshes.items():
            arrays |= {
                f"{name}.vertices": _positions(mesh.vertices),
                f"{name}.normals": _directions(mesh.normals),
                f"{name}.columns": mesh.columns.astype(np.uint16),
                f"{name}.triangles": mesh.triangles.astype(np.uint16),
            }
        return [Piece.of_arrays(slot, arrays, meshes=list(meshes), opacity=round(opacity, 3))]

    def _corrective_pieces(self, correctives: AlbedoCorrectives | None) -> list[Piece]:
        """All of the correctives, if they have changed."""
        if correctives is self._correctives:
            return []
        self._correctives = correctives
        kinds = (PieceKind.CORRECTIVES, PieceKind.CORRECTIVE_MAP)
        self._slots = {slot for slot in self._slots if slot.kind not in kinds}
        if correctives is None:
            return []
        maps, scales = [], []
        for index, delta in enumerate(correctives.deltas.float().numpy()):  # (R, R, 3)
            size = min(CORRECTIVE_TEXELS, delta.shape[0])
            small = cv2.resize(delta, (size, size), interpolation=cv2.INTER_AREA)
            scale = max(float(np.abs(small).max()), 1e-6)
            codes = np.rint(128.0 + DIRECTION_STEPS * small / scale).astype(np.uint8)
            scales.append(scale)
            slot = Slot(PieceKind.CORRECTIVE_MAP, index)
            maps.append(Piece.of_image(slot, "image/jpeg", jpeg(codes, CORRECTIVE_QUALITY), size=size, scale=scale))
        table = Piece.of_arrays(
            Slot(PieceKind.CORRECTIVES),
            {
                "expressions": correctives.expressions.numpy(),
                "gram": correctives.gram.numpy(),
                "mixing": correctives.mixing.numpy(),
            },
        )
        return [*maps, table]


def grey_avatar(model: MorphableModel) -> Avatar:
    """The average head in grey, with which every avatar begins."""
    return Avatar(torch.zeros(model.identity_count), ReflectanceMaps.grey(), 1.0, Stage.WAITING)


def _tile_slices(height: int, width: int) -> list[tuple[slice, slice]]:
    """Rows and columns of the tiles of a map, row by row."""

    def spans(size: int) -> list[slice]:
        return [slice(begin, min(begin + TILE_TEXELS, size)) for begin in range(0, size, TILE_TEXELS)]

    return [(rows, columns) for rows in spans(height) for columns in spans(width)]


def _changed(codes: UInt8Array, sent: UInt8Array) -> bool:
    """Whether a tile differs from what was sent of it by more than the thresholds."""
    difference = cv2.absdiff(codes, sent)
    if not difference.any():
        return False
    if float(np.sqrt(np.mean(np.square(difference, dtype=np.float32)))) >= LEAST_TILE_CHANGE:
        return True
    height, width = max(codes.shape[0] // SPOT_TEXELS, 1), max(codes.shape[1] // SPOT_TEXELS, 1)
    spots = cv2.resize(difference.astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return float(spots.max()) >= LEAST_SPOT_CHANGE


def _motion(vertices: Float32Array, before: Float32Array) -> float:
    """Largest distance of two sets of vertices (V, 3), metres."""
    return float(np.sqrt(np.square(vertices - before).sum(-1).max()))


def _positions(vertices: Float32Array) -> Scaled:
    """Vertices (V, 3) in steps as small as 16 bits allow."""
    scale = max(float(np.abs(vertices).max()), 1e-6) / CODE_LIMIT
    return Scaled(np.rint(vertices / scale).astype(np.int16), scale)


def _directions(vectors: Float32Array) -> Scaled:
    """Unit vectors (V, 3) in 8 bits."""
    return Scaled(np.rint(vectors * DIRECTION_STEPS).astype(np.int8), 1.0 / DIRECTION_STEPS)


def _webp(codes: UInt8Array) -> bytes:
    """WebP file of an image (H, W, 4), RGB with alpha."""
    bgra = cv2.cvtColor(codes, cv2.COLOR_RGBA2BGRA)
    encoded, data = cv2.imencode(".webp", bgra, [cv2.IMWRITE_WEBP_QUALITY, HAIR_QUALITY])
    assert encoded
    return data.tobytes()
