"""Draws one session's avatar as it is known now: grey and average at first, then with each round more of the person."""

import cv2
import numpy as np
import numpy.typing as npt
import torch

from fitme.geometry import HeadPose
from fitme.reflectance.maps import ReflectanceMaps
from fitme.render.forward import ForwardRenderer
from fitme.render.occlusion import head_occlusion
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from stream.messages import Fitted, FittedMaps
from stream.protocol import STAGES, Mode
from stream.scene import Scene
from stream.settings import PictureSettings
from stream.staging import head_pose, linear_color, scene_light, studio_camera

GREY_ALBEDO = (0.42, 0.42, 0.42)
GREY_SPECULAR = 0.03
GREY_RESOLUTION = 16
"""The head before its skin is known."""


class AvatarView:
    """The renderer of one session and what it draws."""

    def __init__(self, model: MorphableModel, settings: PictureSettings) -> None:
        self._model = model
        self._settings = settings
        self._camera = studio_camera(settings.size_px)
        self._renderer = ForwardRenderer(model, settings.size_px, occlusion=head_occlusion(model))
        self._renderer.set_maps(ReflectanceMaps.constant(GREY_ALBEDO, GREY_SPECULAR, GREY_RESOLUTION))
        self._identity = torch.zeros(1, model.identity_count)
        self._found_sh: npt.NDArray[np.float32] | None = None
        self.stage = 0
        """Index into `stream.protocol.STAGES`."""
        self.rounds = 0

    def adopt(self, fitted: Fitted) -> None:
        """Draw what a round found from now on."""
        self._identity = torch.from_numpy(np.asarray(fitted.identity, np.float32))[None]
        self._found_sh = fitted.light_sh
        if fitted.maps is not None:
            self._renderer.set_maps(_reflectance(fitted.maps))
        self.stage, self.rounds = STAGES.index(fitted.stage), fitted.rounds

    @torch.no_grad()
    def draw(
        self, scene: Scene, tracked: HeadPose | None, expression: npt.NDArray[np.float32] | None, time_s: float
    ) -> npt.NDArray[np.uint8]:
        """A picture (H, W, 3) sRGB.

        :param tracked: pose of the person's head, None while there is nobody.
        :param expression: (52,) of the person's face; neutral if None, and on the turntable.
        :param time_s: of the turntable's motion.
        """
        coefficients = torch.zeros(1, len(EXPRESSION_NAMES))
        if expression is not None and scene.mode is Mode.MIRROR:
            coefficients = torch.from_numpy(expression)[None]
        vertices = self._model.vertices(self._identity, coefficients)[0].numpy()
        background = linear_color(scene.background)
        light = scene_light(scene, self._found_sh)
        return self._renderer.render(vertices, head_pose(scene, tracked, time_s), self._camera, light, background)

    def encode(self, image: npt.NDArray[np.uint8]) -> bytes:
        """A picture as JPEG."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality])
        assert encoded
        return data.tobytes()


def _reflectance(maps: FittedMaps) -> ReflectanceMaps:
    parts = (maps.diffuse, maps.specular, maps.normals)
    diffuse, specular, normals = (torch.from_numpy(part.astype(np.float32))[None] for part in parts)
    return ReflectanceMaps(diffuse, specular, torch.nn.functional.normalize(normals, dim=-1))
