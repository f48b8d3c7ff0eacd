"""Differentiable rendering: rasterizer backends, lights, shading, and a forward-only path for streaming."""
