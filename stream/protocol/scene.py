"""Controls of a session - light, camera, background, mode - as one value."""

from dataclasses import dataclass, replace

from msgspec import UNSET, structs

from stream.protocol.client_messages import SetBackground, SetCamera, SetLight, SetMode
from stream.protocol.events import SceneEvent
from stream.protocol.protocol import LightPreset, Mode

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Scene:
    """Controls of a session. Colours are sRGB-encoded, as on the wire."""

    preset: LightPreset = LightPreset.STUDIO
    ambient: float = 1.0
    direction: Vector = (-0.4, 0.5, 0.768)
    color: Vector = (1.0, 1.0, 1.0)
    intensity: float = 0.0
    turn: float = 0.0
    yaw: float = 0.0
    pitch: float = 0.0
    distance: float = 0.6
    mode: Mode = Mode.MIRROR
    background: Vector = (0.13, 0.14, 0.16)

    def changed(self, message: SetLight | SetCamera | SetMode | SetBackground) -> "Scene":
        """Scene with a page's change; controls that the message leaves out stay."""
        match message:
            case SetBackground():
                return replace(self, background=message.color)
            case SetMode():
                return replace(self, mode=message.mode)
            case SetLight() | SetCamera():
                given = {name: value for name, value in structs.asdict(message).items() if value is not UNSET}
                return replace(self, **given)

    def event(self) -> SceneEvent:
        """Event for the pages."""
        return SceneEvent(**vars(self))
