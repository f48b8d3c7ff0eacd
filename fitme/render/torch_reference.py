"""Reference backend: the four operations in plain torch, gradients by autograd, for small meshes only.

Written from the definitions, independently of the numba kernels, which are tested against it.
"""

import torch
from torch import Tensor

from fitme.render.cpu.antialias import CROSSING_TOLERANCE_PX
from fitme.render.cpu.mesh_adjacency import NO_VERTEX, opposite_vertices


class ReferenceBackend:
    """Implements `RasterizerBackend` on any device; memory grows with triangles times pixels."""

    def __init__(self, device: torch.device | str = "cpu") -> None:
        self.device = torch.device(device)

    def rasterize(self, positions: Tensor, triangles: Tensor, resolution: tuple[int, int]) -> Tensor:
        """See `RasterizerBackend.rasterize`."""
        return torch.stack([_rasterize_one(item, triangles.long(), resolution) for item in positions])

    def interpolate(self, attributes: Tensor, rast: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.interpolate`."""
        batch = rast.shape[0]
        face = rast[..., 3].long() - 1  # (B, H, W)
        corners = triangles.long()[face.clamp(min=0)]  # (B, H, W, 3)
        item = torch.arange(batch, device=rast.device)[:, None, None, None]
        values = attributes.expand(batch, -1, -1)[item, corners]  # (B, H, W, 3, C)
        u, v = rast[..., 0], rast[..., 1]
        weights = torch.stack([u, v, 1.0 - u - v], -1)
        return (weights[..., None] * values).sum(-2) * (face >= 0)[..., None]

    def texture(self, texture: Tensor, uv: Tensor) -> Tensor:
        """See `RasterizerBackend.texture`."""
        batch = uv.shape[0]
        grid = uv * 2.0 - 1.0
        channels_first = texture.expand(batch, -1, -1, -1).permute(0, 3, 1, 2)
        sampled = torch.nn.functional.grid_sample(
            channels_first, grid, mode="bilinear", padding_mode="border", align_corners=False
        )
        return sampled.permute(0, 2, 3, 1)

    def antialias(self, color: Tensor, rast: Tensor, positions: Tensor, triangles: Tensor) -> Tensor:
        """See `RasterizerBackend.antialias`."""
        opposite = torch.from_numpy(opposite_vertices(triangles.cpu().numpy())).long().to(color.device)
        faces = triangles.long()
        return torch.stack([
            image + _blend(image, r, p, faces, opposite, False) + _blend(image, r, p, faces, opposite, True)
            for image, r, p in zip(color, rast, positions, strict=True)
        ])  # fmt: skip


def _pixel_centers(count: int, like: Tensor) -> Tensor:
    return (torch.arange(count, dtype=like.dtype, device=like.device) + 0.5) * 2.0 / count - 1.0


def _edge_functions(corners: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Homogeneous barycentrics (..., 3), up to scale, of clip-space points (x, y) in triangles (..., 3, 4)."""
    px = corners[..., 0] - x[..., None] * corners[..., 3]
    py = corners[..., 1] - y[..., None] * corners[..., 3]
    roll = (1, 2, 0)
    next_x, next_y = px[..., roll], py[..., roll]
    last_x, last_y = next_x[..., roll], next_y[..., roll]
    return next_x * last_y - next_y * last_x


def _rasterize_one(positions: Tensor, faces: Tensor, resolution: tuple[int, int]) -> Tensor:
    """Raster (H, W, 4) of one item, see `RasterizerBackend.rasterize`, from vertices (V, 4)."""
    height, width = resolution
    y, x = torch.meshgrid(_pixel_centers(height, positions), _pixel_centers(width, positions), indexing="ij")
    # Every triangle against every pixel, without gradient: visibility is discrete.
    with torch.no_grad():
        corners = positions[faces]  # (F, 3, 4)
        edges = _edge_functions(corners[:, None], x.reshape(1, -1), y.reshape(1, -1))  # (F, H W, 3)
        inside = (edges >= 0).all(-1) | (edges <= 0).all(-1)
        total = edges.sum(-1)
        scaled_w = (edges * corners[:, None, :, 3]).sum(-1)
        depth = (edges * corners[:, None, :, 2]).sum(-1) / scaled_w
        inside &= (total != 0) & (scaled_w / total > 0) & (depth >= -1.0) & (depth <= 1.0)
        depth = torch.where(inside, depth, torch.full_like(depth, torch.inf))
        nearest, face = depth.min(0)
        covered = nearest < torch.inf
        face, covered = face.reshape(height, width), covered.reshape(height, width)
        nearest = torch.where(covered, nearest.reshape(height, width), torch.zeros_like(x))
    # Barycentrics of the nearest triangle alone, with gradient.
    edges = _edge_functions(positions[faces[face]], x, y)  # (H, W, 3)
    total = torch.where(covered, edges.sum(-1), torch.ones_like(x))
    bary = edges / total[..., None] * covered[..., None]
    index = (face + 1) * covered
    return torch.stack([bary[..., 0], bary[..., 1], nearest, index.to(x.dtype)], -1)


def _same_sign(a: Tensor, b: Tensor) -> Tensor:
    return (a >= 0) == (b >= 0)


def _area(a: Tensor, b: Tensor, c: Tensor) -> Tensor:
    """Twice the signed area of triangles whose corners are (..., 2)."""
    ab, ac = b - a, c - a
    return ab[..., 0] * ac[..., 1] - ac[..., 0] * ab[..., 1]


def _blend(color: Tensor, rast: Tensor, positions: Tensor, faces: Tensor, opposite: Tensor, vertical: bool) -> Tensor:
    """Change (H, W, C) of an image by silhouettes between each pixel and its right (or next-row) neighbour."""
    # Pairs of pixels with different triangles; the nearer triangle of a pair owns the silhouette.
    height, width = color.shape[:2]
    rows, columns = torch.meshgrid(
        *(torch.arange(count, device=color.device) for count in (height, width)), indexing="ij"
    )
    rows0, columns0 = (rows[:-1], columns[:-1]) if vertical else (rows[:, :-1], columns[:, :-1])
    rows0, columns0 = rows0.reshape(-1), columns0.reshape(-1)
    rows1, columns1 = rows0 + int(vertical), columns0 + int(not vertical)
    first, second = rast[rows0, columns0].detach(), rast[rows1, columns1].detach()
    face0, face1 = first[:, 3].long() - 1, second[:, 3].long() - 1
    forward = (face1 < 0) | ((face0 >= 0) & (first[:, 2] < second[:, 2]))
    face = torch.where(forward, face0, face1)
    keep = face0 != face1
    rows0, columns0, rows1, columns1 = rows0[keep], columns0[keep], rows1[keep], columns1[keep]
    forward, face = forward[keep], face[keep]

    # Corners of that triangle, and of its neighbours across each edge, in pixels about its own pixel's centre.
    scale = torch.tensor([width / 2.0, height / 2.0], dtype=color.dtype, device=color.device)
    screen = positions[:, :2] / positions[:, 3:] * scale  # (V, 2) pixels about the image's centre
    own = torch.stack([torch.where(forward, columns0, columns1), torch.where(forward, rows0, rows1)], -1)
    center = own.to(color.dtype) + 0.5 - scale  # (N, 2)
    corners = screen[faces[face]] - center[:, None]  # (N, 3, 2)
    far = opposite[face]
    wings = torch.where((far == NO_VERTEX)[..., None], corners, screen[far.clamp(min=0)] - center[:, None])
    area = _area(corners[:, 0], corners[:, 1], corners[:, 2])
    side = torch.where(forward, 1.0, -1.0).to(color.dtype)

    # Crossing of each edge with the segment between both centres; the farthest crossing is the triangle's outline.
    distances = []
    silhouettes = []
    for corner in range(3):
        start, end = corners[:, (corner + 1) % 3], corners[:, (corner + 2) % 3]
        silhouettes.append(_same_sign(_area(wings[:, corner], start, end), area))
        if vertical:
            start, end = start.flip(-1), end.flip(-1)
        delta = end - start
        crosses = ~_same_sign(start[:, 1], end[:, 1])
        dy = torch.where(crosses, delta[:, 1], torch.ones_like(side))
        distance = side * (start[:, 0] - start[:, 1] * delta[:, 0] / dy)
        steep = delta[:, 1].abs() >= delta[:, 0].abs()
        silhouettes[-1] &= steep & crosses
        distances.append(torch.where(crosses, distance, torch.full_like(distance, -torch.inf)))
    distance, edge = torch.stack(distances, -1).max(-1)
    valid = torch.stack(silhouettes, -1).gather(-1, edge[:, None])[:, 0]
    valid &= (distance > -CROSSING_TOLERANCE_PX) & (distance < 1.0 + CROSSING_TOLERANCE_PX)

    # The pixel whose centre the crossing is nearer to receives the blend (Laine et al. 2020, section 3.5).
    alpha = (side * (0.5 - distance.clamp(0.0, 1.0)))[valid]
    rows0, columns0, rows1, columns1 = rows0[valid], columns0[valid], rows1[valid], columns1[valid]
    amount = alpha[:, None] * (color[rows1, columns1] - color[rows0, columns0])
    target_rows = torch.where(alpha > 0, rows0, rows1)
    target_columns = torch.where(alpha > 0, columns0, columns1)
    return torch.zeros_like(color).index_put((target_rows, target_columns), amount, accumulate=True)
