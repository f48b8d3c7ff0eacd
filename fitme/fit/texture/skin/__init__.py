"""Skin of the fused texture: which texels show it, and what stands in where none do."""
