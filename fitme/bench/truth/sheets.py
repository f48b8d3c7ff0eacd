"""Contact sheets of the benchmark: held-out frames, the fit's renders, and the ground truth."""

from pathlib import Path

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.bench.truth.dataset import frame_file, load_relit, load_truth
from fitme.bench.truth.heads import FittedHead, relight
from fitme.color import linear_to_bytes, linear_to_srgb
from fitme.export.portrait import draw_portrait, portrait_light, portrait_pose
from fitme.fit.fitter import IncrementalFitter
from fitme.ingest.candidates import gather
from fitme.ingest.person_tracking import PersonTracker
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.model_file import load_default_model

TILE_PX = 320
CROP_GROWTH = 0.35
"""Margin of a tile around the landmarks, as a share of its side."""
LIGHT_AZIMUTHS_RAD = (-0.9, 0.0, 0.9)
LIGHT_ELEVATION_RAD = 0.4


def write_sheet(folder: Path, number: int, frames: int, fitter: IncrementalFitter, path: Path) -> None:
    """Write the sheet of one subject: above, held-out frames, renders, normals, true and fitted relighting; below, the
    neutral head in grey and under two lights, true and fitted albedo."""
    model = load_default_model()
    truth = load_truth(folder, number, frames)
    head, avatar = FittedHead(fitter), fitter.avatar()
    # One row per relit frame in which the tracker finds the face.
    tiles: list[list[UInt8Array]] = []
    for frame in (int(frame) for frame in truth.relit):
        observed = [s for _, s in PersonTracker(model).tracked_frames(gather([frame_file(folder, number, frame)]))]
        if not observed:
            continue
        tracked_frame = observed[0]
        observation, image = tracked_frame.observation, tracked_frame.frame.image
        estimate = head.fit_frame_pose(tracked_frame)
        render, mask = head.draw(estimate, observation.camera)
        inside = mask[..., None] > 0
        lit = relight(head, model, estimate, observation.camera, truth.unseen)
        normals = (0.5 + 0.5 * lit.normals[0].numpy()) * (lit.rast[0, ..., 3:].numpy() > 0)
        images = [
            image,
            np.where(inside, render, image),
            (255.0 * normals).astype(np.uint8),
            load_relit(folder, number, frame),
            linear_to_bytes(lit.image[0].numpy()),
        ]
        window = _window(observation.landmarks, image.shape[0], image.shape[1])
        tiles.append([_tile(image[window]) for image in images])
    # The last row: geometry alone in grey, the avatar under two lights, both albedos.
    grey = ReflectanceMaps.grey()
    straight = portrait_pose(0.0)
    portraits = [
        draw_portrait(type(avatar)(avatar.identity, grey, avatar.focal, avatar.stage), model, {}, straight,
                      portrait_light(0.5, LIGHT_ELEVATION_RAD), TILE_PX),
        *(
            draw_portrait(avatar, model, {}, straight, portrait_light(azimuth, LIGHT_ELEVATION_RAD), TILE_PX)
            for azimuth in LIGHT_AZIMUTHS_RAD[::2]
        ),
    ]  # fmt: skip
    albedos = [torch.from_numpy(truth.albedo), avatar.maps.diffuse[0]]
    maps = [_tile((255.0 * linear_to_srgb(albedo).clamp(0, 1)).numpy().astype(np.uint8)) for albedo in albedos]
    tiles.append([*portraits, *maps])
    sheet = np.concatenate([np.concatenate(row, 1) for row in tiles], 0)
    cv2.imwrite(str(path), cv2.cvtColor(sheet, cv2.COLOR_RGB2BGR))


def _window(landmarks: Float32Array, height: int, width: int) -> tuple[slice, slice]:
    """Rows and columns of a square around a face."""
    low, high = landmarks.min(0), landmarks.max(0)
    side = int((1.0 + CROP_GROWTH) * (high - low).max())
    left, top = ((low + high) / 2.0 - side / 2.0).astype(int)
    return slice(max(top, 0), min(top + side, height)), slice(max(left, 0), min(left + side, width))


def _tile(image: UInt8Array) -> UInt8Array:
    return np.asarray(cv2.resize(image, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)
