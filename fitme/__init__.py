"""FitMe: relightable 3D face avatars fitted to photos and video.

After Lattas et al., "FitMe: Deep Photorealistic 3D Morphable Model Avatars", CVPR 2023.

The package is usable without any server: `fitme.track` observes a face, `fitme.fit` fits shape, reflectance and light
to it, `fitme.render` draws the result, `fitme.avatar` saves and exports it. Nothing here imports `stream`.
"""
