"""Tangent frames of a textured mesh: the axes that a normal map refers to."""

import torch
from torch import Tensor


def vertex_tangents(
    vertices: Tensor,  # (B, V, 3)
    triangles: Tensor,  # (F, 3)
    uv: Tensor,  # (T, 2)
    uv_triangles: Tensor,  # (F, 3)
) -> Tensor:
    """Tangents dP/du, one per texture vertex so that seams stay sharp. Differentiable in vertices.

    :returns: (B, T, 4). Three components along dP/du, unit length before interpolation, not yet orthogonal to the
        normal; the fourth is glTF's handedness: bitangent (upwards, against v) = cross(normal, tangent) * sign.
    """
    batch = vertices.shape[0]
    corners = vertices[:, triangles.reshape(-1).long()].reshape(batch, -1, 3, 3)  # (B, F, 3, 3)
    edge1, edge2 = corners[:, :, 1] - corners[:, :, 0], corners[:, :, 2] - corners[:, :, 0]
    layout = uv[uv_triangles.long()]  # (F, 3, 2)
    across1, across2 = layout[:, 1] - layout[:, 0], layout[:, 2] - layout[:, 0]  # (F, 2)
    orientation = across1[:, 0] * across2[:, 1] - across2[:, 0] * across1[:, 1]  # (F,) twice the signed area in UV
    # dP/du times the area in UV: large triangles of the layout weigh more.
    along_u = (edge1 * across2[:, 1:2] - edge2 * across1[:, 1:2]) * orientation.sign()[:, None]  # (B, F, 3)
    # Sum over the triangles of each texture vertex, then normalise.
    index = uv_triangles.reshape(-1).long()
    count = uv.shape[0]
    of_corners = along_u[:, :, None].expand(-1, -1, 3, -1).reshape(batch, -1, 3)
    total = vertices.new_zeros(batch, count, 3).index_add(1, index, of_corners)
    tangents = total * (total * total).sum(-1, keepdim=True).clamp(min=torch.finfo(total.dtype).tiny).rsqrt()
    # Mirrored islands have negative area in UV, hence the opposite handedness.
    turn = uv.new_zeros(count).index_add(0, index, -orientation[:, None].expand(-1, 3).reshape(-1))
    handedness = torch.where(turn < 0, -1.0, 1.0).to(vertices)
    return torch.cat([tangents, handedness[None, :, None].expand(batch, -1, 1)], -1)
