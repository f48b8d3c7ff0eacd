"""The morphable head: mean + identity components + 52 expressions, with eyeballs that turn and embedded landmarks."""

import math
from dataclasses import dataclass, fields, replace
from functools import cached_property

import torch
from torch import Tensor

from fitme.geometry import rotation_matrix
from fitme.shape.expressions import MAX_EYE_PITCH_DEG, MAX_EYE_YAW_DEG, expression_index
from fitme.shape.regions import Region

TEETH_SIGMA_M = 0.0015
"""Standard deviation over people of the height of the upper row of teeth: at rest incisors show by 0 to 4 mm (Vig and
Brundo, "The kinetics of anterior tooth display", Journal of Prosthetic Dentistry 1978)."""
CROWN_HEIGHT_M, GUM_LINE_SHARE = 0.0115, 0.3
"""Height of an upper front tooth, and displacement of the gum line over that of the biting edge: below the lip long
teeth show rather than gums."""
LOWER_TEETH_MOVE = 0.1
"""Share of the largest displacement of any tooth by `jawOpen` from which a tooth counts as a lower one."""


@dataclass(frozen=True, eq=False)
class MorphableModel:
    """A head in the model frame (+Y up, face along +Z, metres, origin midway between the mean's eyeballs).

    Tensors live on the CPU unless `to` moved them.
    """

    mean: Tensor
    """(V, 3) float32, metres: the average neutral head."""
    identity_basis: Tensor
    """(K, V, 3) float32, metres per standard deviation: coefficients are distributed as N(0, I) over people."""
    expression_basis: Tensor
    """(52, V, 3) float32, metres at full activation, in the order of `EXPRESSION_NAMES`; coefficients in [0, 1]."""
    triangles: Tensor
    """(F, 3) int32, counter-clockwise seen from outside."""
    uv: Tensor
    """(T, 2) float32, (0, 0) at the top-left of a map, v down; seams make T larger than V."""
    uv_triangles: Tensor
    """(F, 3) int32 indices into `uv`."""
    triangle_region: Tensor
    """(F,) int64 values of `Region`."""
    eyeball_vertices: tuple[Tensor, Tensor]
    """int64 vertex indices of the person's left (+X) and right eyeball; their mean is its centre. May be empty."""
    mediapipe_triangles: Tensor
    """(478,) int64: triangle on which each landmark of MediaPipe's face mesh with irises lies."""
    mediapipe_barycentric: Tensor
    """(478, 3) float32, rows sum to one."""
    mediapipe_valid: Tensor
    """(478,) bool: whether the landmark has a place on this mesh."""
    ibug_triangles: Tensor
    """(68,) int64: triangle on which each of iBUG's 68 landmarks lies."""
    ibug_barycentric: Tensor
    """(68, 3) float32."""
    mirror: Tensor
    """(V,) int64: index of each vertex's mirror image about x = 0."""
    face_triangles: Tensor
    """(F,) bool: skin and lips inside MediaPipe's face oval."""

    @property
    def vertex_count(self) -> int:
        """V."""
        return self.mean.shape[0]

    @property
    def identity_count(self) -> int:
        """K."""
        return self.identity_basis.shape[0]

    def to(self, device: torch.device | str) -> "MorphableModel":
        """Copy of the model with its tensors on another device."""
        moved = {f.name: getattr(self, f.name).to(device) for f in fields(self) if f.name != "eyeball_vertices"}
        left, right = self.eyeball_vertices
        return replace(self, **moved, eyeball_vertices=(left.to(device), right.to(device)))

    def neutral(self, identity: Tensor) -> Tensor:
        """Vertices (B, V, 3) of expressionless heads with identity coefficients (B, K), or (B, K + 1): the last one is
        the height of the upper row of teeth, standard deviations upwards, of which no component knows."""
        components, teeth = identity[:, : self.identity_count], identity[:, self.identity_count :]
        offsets = components @ self.identity_basis.flatten(1)  # (B, 3V)
        vertices: Tensor = self.mean + offsets.view(-1, self.vertex_count, 3)
        return vertices + teeth[..., None] * self._teeth_up if teeth.shape[1] else vertices

    def vertices(
        self,
        identity: Tensor,  # (B, K) or (B, K + 1)
        expression: Tensor,  # (B, 52)
    ) -> Tensor:
        """Vertices (B, V, 3) in metres, differentiable in both arguments.

        Eyeballs turn rigidly about their centres by the eyeLook coefficients; all else is linear.
        """
        offsets = expression @ self.expression_basis.flatten(1)
        vertices = self.neutral(identity) + offsets.view(-1, self.vertex_count, 3)
        for index, rotation in zip(self.eyeball_vertices, self.eye_rotations(expression), strict=True):
            if len(index) == 0:
                continue
            ball = vertices[:, index]
            centre = ball.mean(1, keepdim=True)
            turned = centre + (ball - centre) @ rotation_matrix(rotation).transpose(-1, -2)
            vertices = vertices.index_copy(1, index, turned)
        return vertices

    def eye_rotations(self, expression: Tensor) -> tuple[Tensor, Tensor]:
        """Axis-angle rotations (B, 3) in radians of the left and the right eyeball for coefficients (B, 52)."""

        def amount(name: str) -> Tensor:
            return expression[:, expression_index(name)]

        yaw_limit, pitch_limit = math.radians(MAX_EYE_YAW_DEG), math.radians(MAX_EYE_PITCH_DEG)
        left_yaw = yaw_limit * (amount("eyeLookOutLeft") - amount("eyeLookInLeft"))
        right_yaw = yaw_limit * (amount("eyeLookInRight") - amount("eyeLookOutRight"))
        left_pitch = pitch_limit * (amount("eyeLookDownLeft") - amount("eyeLookUpLeft"))
        right_pitch = pitch_limit * (amount("eyeLookDownRight") - amount("eyeLookUpRight"))
        zero = torch.zeros_like(left_yaw)
        return torch.stack([left_pitch, left_yaw, zero], -1), torch.stack([right_pitch, right_yaw, zero], -1)

    def landmarks(self, vertices: Tensor) -> Tensor:
        """MediaPipe's landmarks (B, 478, 3) on vertices (B, V, 3); meaningless where `mediapipe_valid` is False."""
        return self._embed(vertices, self.mediapipe_triangles, self.mediapipe_barycentric)

    def ibug_landmarks(self, vertices: Tensor) -> Tensor:
        """iBUG's 68 landmarks (B, 68, 3) on vertices (B, V, 3)."""
        return self._embed(vertices, self.ibug_triangles, self.ibug_barycentric)

    def landmark_model(self) -> tuple[Tensor, Tensor, Tensor]:
        """Linear model of MediaPipe's landmarks: mean (478, 3), identity (K, 478, 3), expression
        (52, 478, 3). Exact but for the rotation of the eyeballs (landmarks 468 to 477)."""
        mean = self.landmarks(self.mean[None])[0]
        return mean, self.landmarks(self.identity_basis), self.landmarks(self.expression_basis)

    def vertex_mask(self, *regions: Region) -> Tensor:
        """(V,) bool: vertices that some triangle of the given regions uses."""
        chosen = torch.isin(self.triangle_region, torch.tensor([int(r) for r in regions], device=self.mean.device))
        mask = torch.zeros(self.vertex_count, dtype=torch.bool, device=self.mean.device)
        mask[self.triangles[chosen].long().flatten()] = True
        return mask

    @cached_property
    def face_vertices(self) -> Tensor:
        """(N,) int64: vertices of `face_triangles`."""
        vertices: Tensor = torch.unique(self.triangles[self.face_triangles].long())
        return vertices

    @cached_property
    def lower_teeth(self) -> Tensor:
        """(V,) bool: vertices of the lower row of teeth, which the jaw takes along."""
        way = self.expression_basis[expression_index("jawOpen")].norm(dim=-1) * self.vertex_mask(Region.TEETH)
        mask: Tensor = way > LOWER_TEETH_MOVE * way.max()
        return mask

    @cached_property
    def _teeth_up(self) -> Tensor:
        """(V, 3) metres: displacement of the upper row of teeth by one standard deviation of its height: linear in the
        height on the teeth, so that crowns are stretched as a whole."""
        upper = self.vertex_mask(Region.TEETH) & ~self.lower_teeth
        up = torch.zeros_like(self.mean)
        above_edge = self.mean[upper, 1] - self.mean[upper, 1].amin() if upper.any() else self.mean[upper, 1]
        up[upper, 1] = TEETH_SIGMA_M * (1.0 - (1.0 - GUM_LINE_SHARE) * above_edge / CROWN_HEIGHT_M)
        return up

    def _embed(self, vertices: Tensor, triangles: Tensor, barycentric: Tensor) -> Tensor:
        corners = vertices[:, self.triangles[triangles].long()]  # (B, L, 3 corners, 3)
        points: Tensor = (corners * barycentric[..., None]).sum(2)
        return points
