"""Tangent frames of a textured mesh: the axes that a normal map refers to."""

import numpy as np
import torch
from torch import Tensor

from fitme.arrays import Float32Array, Int32Array
from fitme.render.cpu.kernel import kernel


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
    if vertices.dtype == torch.float32 and vertices.device.type == "cpu" and not vertices.requires_grad:
        found = vertices.new_zeros(len(vertices), len(uv), 4)
        faces, layout_faces = (part.int().contiguous().numpy() for part in (triangles, uv_triangles))
        for mesh, tangents in zip(vertices, found, strict=True):
            _add_tangents(
                mesh.contiguous().numpy(), faces, uv.float().contiguous().numpy(), layout_faces, tangents.numpy()
            )
        return found
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


@kernel
def _add_tangents(
    vertices: Float32Array, triangles: Int32Array, uv: Float32Array, uv_triangles: Int32Array, tangents: Float32Array
) -> None:
    """Write tangents and handedness of one mesh as `vertex_tangents` has them into zeros (T, 4)."""
    for face in range(triangles.shape[0]):
        i, j, k = triangles[face, 0], triangles[face, 1], triangles[face, 2]
        p, q, r = uv_triangles[face, 0], uv_triangles[face, 1], uv_triangles[face, 2]
        across1, down1 = uv[q, 0] - uv[p, 0], uv[q, 1] - uv[p, 1]
        across2, down2 = uv[r, 0] - uv[p, 0], uv[r, 1] - uv[p, 1]
        orientation = across1 * down2 - down1 * across2
        sign = np.sign(orientation)
        for axis in range(3):
            edge1, edge2 = vertices[j, axis] - vertices[i, axis], vertices[k, axis] - vertices[i, axis]
            along = (edge1 * down2 - edge2 * down1) * sign
            tangents[p, axis] += along
            tangents[q, axis] += along
            tangents[r, axis] += along
        tangents[p, 3] -= orientation
        tangents[q, 3] -= orientation
        tangents[r, 3] -= orientation
    for vertex in range(tangents.shape[0]):
        x, y, z = tangents[vertex, 0], tangents[vertex, 1], tangents[vertex, 2]
        square = x * x + y * y + z * z
        if square > 0.0:
            length = np.sqrt(square)
            tangents[vertex, 0], tangents[vertex, 1], tangents[vertex, 2] = x / length, y / length, z / length
        tangents[vertex, 3] = -1.0 if tangents[vertex, 3] < 0.0 else 1.0
