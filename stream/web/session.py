"""One session of a server while it is active: its pages, its camera, and the events and renders of the engine."""

import time
from dataclasses import dataclass, field
from pathlib import Path

from stream.engine.interface import Engine
from stream.protocol.events import EndedEvent, Event, StoredEvent
from stream.protocol.render import Render
from stream.protocol.scene import Scene
from stream.web.relay import Relay
from stream.web.rtc import CameraPeer


@dataclass(eq=False)
class Session:
    """One person's session while it is active, and the engine's listener for it."""

    id: str
    folder: Path
    engine: Engine
    resumed: bool
    """The session has data from before it became active."""
    relay: Relay = field(default_factory=Relay)
    scene: Scene = field(default_factory=Scene)
    peer: CameraPeer | None = None
    connected_number: int = 0
    """Number of the offer that `peer` answers."""
    peer_number: int = 0
    """Number of the newest offer."""
    connecting: int = 0
    """Offers that are being answered."""
    idle_since_s: float = field(default_factory=time.monotonic)
    stored: bool = False
    """The newest round is on disk."""
    _dismissed: bool = False
    _render_requested: bool = False

    @property
    def idle(self) -> bool:
        """Whether the session has neither a camera nor a page."""
        return self.peer is None and not self.connecting and len(self.relay) == 0

    def on_event(self, event: Event) -> None:
        """Send an event of the engine to every page."""
        if isinstance(event, StoredEvent):
            self.stored = event.stored
        self.relay.publish(event)

    def on_render(self, render: Render) -> None:
        """Offer a render of the engine to every page, and request the next one."""
        self._render_requested = False
        self.relay.show(render)
        self.request_render()

    def request_render(self) -> None:
        """Request a render of the engine if some page would draw it; one request at a time."""
        if not self._render_requested and self.relay.accepts_renders:
            self._render_requested = True
            self.engine.request_render(self.id)

    def dismiss(self, reason: str) -> None:
        """End every page's websocket with a reason; only the first call counts."""
        if not self._dismissed:
            self._dismissed = True
            self.relay.publish(EndedEvent(reason))
            self.relay.close()

    def set_scene(self, scene: Scene) -> None:
        """Change the controls, on every page."""
        self.scene = scene
        self.engine.set_scene(self.id, scene)
        self.relay.publish(scene.event())
