"""Observing a face in one frame: landmarks, pose and expression, picture quality, identity, occlusion."""
