"""Renders of one session's avatar: a grey average head at first, then the newest head and maps of the fit.

What the fit sends is only noted, and prepared when the next render is drawn: a session whose pages draw for themselves
pays nothing for it.
"""

import cv2
import numpy as np
import torch

from fitme.arrays import Float32Array, UInt8Array
from fitme.geometry import HeadPose
from fitme.hair.hair import Hair, hair_of_arrays
from fitme.hair.head_renderer import HeadRenderer
from fitme.reflectance.expression_correctives import AlbedoCorrectives
from fitme.reflectance.maps import ReflectanceMaps, unit_length
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.morphable_model import MorphableModel
from fitme.stage import Stage
from stream.engine.messages import Fitted, FittedCorrectives, FittedGlasses, FittedHair, FittedMaps
from stream.engine.scene_setup import head_pose, linear_color, scene_light, scene_surroundings, virtual_camera
from stream.protocol.protocol import Mode
from stream.protocol.scene import Scene
from stream.settings import RenderSettings

LEAST_CHANGE = 0.04
"""Change of a corrective's weight below which the albedo is not blended again."""
LEAST_IDENTITY_CHANGE = 0.02
"""Change of a shape coefficient, in standard deviations, up to which the hair stays where it is."""


class AvatarView:
    """Renderer of one session, with the head, maps and correctives that it draws."""

    def __init__(self, model: MorphableModel, settings: RenderSettings) -> None:
        self._model = model
        self._settings = settings
        self._camera = virtual_camera(settings.size_px)
        self._renderer = HeadRenderer(model, settings.size_px, shadows=True)
        grey = ReflectanceMaps.grey()
        self._renderer.set_maps(grey)
        self._diffuse = grey.diffuse[0].numpy()
        self._correctives: AlbedoCorrectives | None = None
        self._current_weights = torch.zeros(0)
        self._identity = torch.zeros(1, model.identity_count)
        self._fitted_light_sh: Float32Array | None = None
        self._hair: Hair | None = None
        self._hair_identity = self._identity
        self._new_maps: FittedMaps | None = None
        self._new_correctives: FittedCorrectives | None = None
        self._new_hair: FittedHair | None = None
        self.stage = Stage.WAITING
        self.rounds = 0

    def close(self) -> None:
        """End the renderer's threads."""
        self._renderer.close()

    def adopt(self, fitted: Fitted) -> None:
        """Draw the head of this round from now on."""
        self._identity = torch.from_numpy(np.asarray(fitted.identity, np.float32))[None]
        self._fitted_light_sh = fitted.light_sh
        if fitted.maps is not None:
            self._new_maps = fitted.maps
        self.stage, self.rounds = fitted.stage, fitted.rounds

    def set_correctives(self, fitted: FittedCorrectives) -> None:
        """Blend these albedo correctives by the expression from now on."""
        self._new_correctives = fitted

    def set_hair(self, fitted: FittedHair) -> None:
        """Draw this hair from now on; none if None."""
        self._new_hair = fitted

    def set_glasses(self, fitted: FittedGlasses) -> None:
        """Draw these glasses from now on; none if None."""
        self._renderer.set_glasses(fitted.glasses)

    def _prepare(self) -> None:
        """Prepare the renderer for what has come since the last render."""
        if (new_maps := self._new_maps) is not None:
            self._new_maps = None
            maps = _reflectance(new_maps)
            self._renderer.set_maps(maps)
            self._diffuse, self._current_weights = maps.diffuse[0].numpy(), torch.zeros(0)
        if (correctives := self._new_correctives) is not None:
            self._new_correctives = None
            self._correctives, self._current_weights = None, torch.zeros(0)
            if (known := correctives.known) is not None:
                self._correctives = AlbedoCorrectives(*(torch.from_numpy(part) for part in vars(known).values()))
            self._renderer.set_diffuse(self._diffuse)
        # A head before its first round, or of an older store, lacks the coefficient of the teeth: none is on the skull.
        components = self._model.identity_count
        change = self._identity[:, :components] - self._hair_identity[:, :components]
        turned = float(change.abs().max()) > LEAST_IDENTITY_CHANGE
        if (hair := self._new_hair) is not None:
            self._new_hair = None
            self._hair = None if hair.arrays is None else hair_of_arrays(hair.arrays)
        if hair is not None or turned:
            self._place_hair()

    def _place_hair(self) -> None:
        """Lay the hair on the skull of the identity that is drawn: some 0.1 s."""
        self._hair_identity = self._identity
        self._renderer.set_hair(self._hair, self._model, self._identity[0])

    @torch.no_grad()
    def draw(
        self, scene: Scene, tracked: HeadPose | None, expression: Float32Array | None, time_s: float
    ) -> UInt8Array:
        """Render (H, W, 3) uint8 sRGB of the avatar in a scene.

        :param tracked: pose of the person's head, None while there is nobody.
        :param expression: (52,) of the person's face; neutral if None, and on the turntable.
        :param time_s: of the turntable's motion.
        """
        self._prepare()
        coefficients = torch.zeros(1, len(EXPRESSION_NAMES))
        if expression is not None and scene.mode is Mode.MIRROR:
            coefficients = torch.from_numpy(expression)[None]
        vertices = self._model.vertices(self._identity, coefficients)[0].numpy()
        self._apply_correctives(coefficients[0])
        background = linear_color(scene.background)
        light = scene_light(scene, self._fitted_light_sh)
        surroundings = scene_surroundings(scene)
        self._renderer.set_reflections(None if surroundings is None else surroundings.reflections)
        return self._renderer.render(vertices, head_pose(scene, tracked, time_s), self._camera, light, background)

    def _apply_correctives(self, expression: torch.Tensor) -> None:
        """Blend the albedo for an expression (52,), unless the weights have hardly changed."""
        known = self._correctives
        if known is None or known.deltas.shape[1:] != self._diffuse.shape:
            return
        weights = known.weights(expression)
        if (
            len(weights) == len(self._current_weights)
            and float((weights - self._current_weights).abs().max()) < LEAST_CHANGE
        ):
            return
        self._current_weights = weights
        self._renderer.set_diffuse(known.blended(torch.from_numpy(self._diffuse), weights).numpy())

    def encode(self, image: UInt8Array) -> bytes:
        """JPEG file of a render (H, W, 3) uint8 sRGB."""
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        encoded, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, self._settings.jpeg_quality])
        assert encoded
        return data.tobytes()


def _reflectance(maps: FittedMaps) -> ReflectanceMaps:
    tensors = {name: torch.from_numpy(part.astype(np.float32))[None] for name, part in maps.by_name().items()}
    return ReflectanceMaps.from_names(tensors).mapped(unit_length)
