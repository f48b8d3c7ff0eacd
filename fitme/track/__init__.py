"""Observing a face in one frame: landmarks, pose and expression, image quality, identity, occlusion."""
