"""Draws one session's avatar as it is known now: grey and average at first, then with each round more of the person."""

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import HeadPose
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps, unit_length
from fitme.render.forward.renderer import ForwardRenderer
from fitme.render.occlusion import head_occlusion, mouth_occlusion
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from stream.engine.messages import Fitted, FittedCorrectives, FittedMaps
from stream.engine.scene_setup import head_pose, linear_color, scene_light, virtual_camera
from stream.protocol.protocol import Mode
from stream.protocol.scene import Scene
from stream.settings import RenderSettings

LEAST_CHANGE = 0.04
"""Smaller changes of the weights of expressions change nothing."""


class AvatarView:
    """The renderer of one session and what it draws."""

    def __init__(self, model: MorphableModel, settings: RenderSettings) -> None:
        self._model = model
        self._settings = settings
        self._camera = virtual_camera(settings.size_px)
        self._renderer = ForwardRenderer(
            model, settings.size_px, occlusion=head_occlusion(model), mouth=mouth_occlusion(model), shadows=True
        )
        grey = ReflectanceMaps.grey()
        self._renderer.set_maps(grey)
        self._diffuse = grey.diffuse[0].numpy()
        self._correctives: AlbedoCorrectives | None = None
        self._worn = torch.zeros(0)
        self._identity = torch.zeros(1, model.identity_count)
        self._found_sh: Float32Array | None = None
        self.stage = Stage.WAITING
        self.rounds = 0

    def adopt(self, fitted: Fitted) -> None:
        """Draw what a round found from now on."""
        self._identity = torch.from_numpy(np.asarray(fitted.identity, np.float32))[None]
        self._found_sh = fitted.light_sh
        if fitted.maps is not None:
            maps = _reflectance(fitted.maps)
            self._renderer.set_maps(maps)
            self._diffuse, self._worn = maps.diffuse[0].numpy(), torch.zeros(0)
        self.stage, self.rounds = fitted.stage, fitted.rounds

    def wear(self, fitted: FittedCorrectives) -> None:
        """Change the skin with the expression from now on."""
        self._correctives, self._worn = None, torch.zeros(0)
        if (known := fitted.known) is not None:
            self._correctives = AlbedoCorrectives(*(torch.from_numpy(part) for part in vars(known).values()))
        self._renderer.set_diffuse(self._diffuse)

    @torch.no_grad()
    def draw(
        self, scene: Scene, tracked: HeadPose | None, expression: Float32Array | None, time_s: float
    ) -> UInt8Array:
        """A picture (H, W, 3) sRGB.

        :param tracked: pose of the person's head, None while there is nobody.
        :param expression: (52,) of the person's face; neutral if None, and on the turntable.
        :param time_s: of the turntable's motion.
        """
        coefficients = torch.zeros(1, len(EXPRESSION_NAMES))
        if expression is not None and scene.mode is Mode.MIRROR:
            coefficients = torch.from_numpy(expression)[None]
        vertices = self._model.vertices(self._identity, coefficients)[0].numpy()
        self._dress(coefficients[0])
        background = linear_color(scene.background)
        light = scene_light(scene, self._found_sh)
        return self._renderer.render(vertices, head_pose(scene, tracked, time_s), self._camera, light, background)

    def _dress(self, expression: torch.Tensor) -> None:
        """Draw the skin as it is with an expression (52,); costs nothing while that hardly changes."""
        known = self._correctives
        if known is None or known.deltas.shape[1:] != self._diffuse.shape:
            return
        weights = known.weights(expression)
        if len(weights) == len(self._worn) and float((weights - self._worn).abs().max()) < LEAST_CHANGE:
            return
        self._worn = weights
        self._renderer.set_diffuse(known.blended(torch.from_numpy(self._diffuse), weights).numpy())

    def encode(self, image: UInt8Array) -> bytes:
        """A picture as JPEG."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality])
        assert encoded
        return data.tobytes()


def _reflectance(maps: FittedMaps) -> ReflectanceMaps:
    tensors = {name: torch.from_numpy(part.astype(np.float32))[None] for name, part in maps.by_name().items()}
    return ReflectanceMaps.from_names(tensors).mapped(unit_length)
