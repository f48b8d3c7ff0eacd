"""One session of a server while it is active: its pages, its camera, and the events and renders of the engine."""

import asyncio
import itertools
import time
from collections.abc import Coroutine, Iterator, Sequence
from dataclasses import dataclass, field

from aiortc import MediaStreamTrack

from fitme.session.folder import SessionFolder
from stream.engine.interface import Engine
from stream.protocol.avatar import Slot
from stream.protocol.events import EndedEvent, Event, StoredEvent, ViewersEvent, VoiceEvent
from stream.protocol.parameters import numbered
from stream.protocol.protocol import CLOSE_FULL
from stream.protocol.render import Render
from stream.protocol.scene import Scene
from stream.settings import SessionMotionSettings
from stream.web.monitoring.metrics import Metrics
from stream.web.motion import MotionExchange
from stream.web.peers.rtc import CameraPeer
from stream.web.peers.voice import Voice
from stream.web.relay import Relay
from stream.web.sessions.rights import SessionRights


@dataclass(eq=False)
class Session:
    """One person's session while it is active, and the engine's listener for it."""

    id: str
    folder: SessionFolder
    engine: Engine
    resumed: bool
    """The session has data from before it became active."""
    rights: SessionRights
    address: str
    """IP address of its owner."""
    exchange: MotionExchange = field(default_factory=lambda: MotionExchange(SessionMotionSettings()))
    """Motion to and from other programs."""
    relay: Relay = field(default_factory=Relay)
    scene: Scene = field(default_factory=Scene)
    peer: CameraPeer | None = None
    connected_number: int = 0
    """Number of the offer that `peer` answers."""
    peer_number: int = 0
    """Number of the newest offer."""
    idle_since_s: float = field(default_factory=time.monotonic)
    cameraless_since_s: float = field(default_factory=time.monotonic)
    """When it last had a camera."""
    camera_is_silent: bool = False
    """The camera is connected, but sends no frames for now."""
    metrics: Metrics = field(default_factory=Metrics)
    """Of the server."""
    stored: bool = False
    """The newest round is on disk."""
    voice: Voice | None = None
    """The owner's voice while the microphone is on."""
    _background: set[asyncio.Task[None]] = field(default_factory=set)
    _sequences: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    """Of the parameters: they go on when the engine is started again."""
    _driven: bool = False
    """Another program moves the avatar."""
    _dismissed: bool = False
    _render_requested: bool = False

    @property
    def idle(self) -> bool:
        """Whether the session has neither a camera nor a page of its owner."""
        return self.peer is None and self.relay.owners == 0

    def parkable(self, cameraless_s: float) -> bool:
        """Whether somebody else may have the session's slot: it is idle, or has had no camera or a silent one for
        that long."""
        if self.peer is not None and not self.camera_is_silent:
            return False
        return self.relay.owners == 0 or time.monotonic() - self.cameraless_since_s > cameraless_s

    def on_event(self, event: Event) -> None:
        """Send an event of the engine to every page."""
        if isinstance(event, StoredEvent):
            self.stored = event.stored
        self.metrics.event(event)
        self.relay.publish(event)

    def on_parameters(self, message: bytes) -> None:
        """Send packed parameters of the camera on, unless another program moves the avatar."""
        self.metrics.parameters(message)
        if not self._driven:
            self._move(message)

    def drive(self, message: bytes | None) -> None:
        """Move the avatar by packed parameters of another program; by the camera again if None."""
        self._driven = message is not None
        self.engine.drive(self.id, message)
        if message is not None:
            self._move(message)

    def _move(self, message: bytes) -> None:
        """Send packed parameters to every page that receives them, over the camera's data channel, and to other
        programs."""
        parameters = numbered(message, next(self._sequences))
        if self.peer is not None:
            self.peer.send_parameters(parameters)
        self.relay.move(parameters)
        self.exchange.send(self, parameters)

    def on_pieces(self, pieces: Sequence[tuple[Slot, bytes]], dropped: Sequence[Slot]) -> None:
        """Send pieces of the avatar to every page that draws it."""
        self.relay.update_avatar(pieces, dropped)

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

    def send_away(self) -> None:
        """End every page's websocket; pages may come back once there is a place for the session again."""
        if not self._dismissed:
            self._dismissed = True
            self.relay.close(CLOSE_FULL)

    def count_viewers(self) -> None:
        """Send the owner's pages the number of viewers, if it has changed."""
        self.relay.publish(ViewersEvent(self.relay.viewers))

    def end_links(self, now_s: float) -> None:
        """Disconnect viewers whose links are over.

        :param now_s: seconds since 1970.
        """
        for link in self.rights.links:
            if not link.valid(now_s) and self.relay.viewers_of(link.id):
                self.end_link(link.id)

    def end_link(self, link: str) -> None:
        """Disconnect whoever watches or listens by a link."""
        self.relay.close_link(link)
        if self.voice is not None:
            self._run(self.voice.close_link(link))

    def set_voice(self, track: MediaStreamTrack | None) -> None:
        """Relay another microphone, or none."""
        if self.voice is not None:
            self._run(self.voice.close())
        elif track is None:
            return
        self.voice = None if track is None else Voice(track)
        self.relay.publish(VoiceEvent(track is not None))

    async def close(self) -> None:
        """Close the camera, the voice, and motion to and from other programs."""
        self.set_voice(None)
        await self.exchange.release(self)
        if self.peer is not None:
            await self.peer.close()
        await asyncio.gather(*self._background, return_exceptions=True)

    def _run(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def set_scene(self, scene: Scene) -> None:
        """Change the controls, on every page."""
        self.scene = scene
        self.engine.set_scene(self.id, scene)
        self.relay.publish(scene.event())
