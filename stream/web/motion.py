"""Motion of sessions to and from other programs: VMC, Live Link Face and JSON (`fitme.motion`).

The operator names the addresses (`motion` of the settings; none by default), and a session's motion goes there, or
comes from there, only once its owner asks for that. Each address serves one session at a time: a receiver draws one
face.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Sequence
from typing import Protocol

from fitme.errors import ConfigError, FitmeError
from fitme.motion.absence import AbsenceFilter
from fitme.motion.addresses import MotionAddress, parse_address
from fitme.motion.endpoints import MotionOutput, MotionSource, open_output, open_source
from fitme.motion.motion import Motion
from stream.protocol.parameters import Parameters
from stream.settings import SessionMotionSettings

logger = logging.getLogger(__name__)


class UnknownMotionError(FitmeError):
    """The server does not offer this address."""


class MotionTakenError(FitmeError):
    """Another session uses the address, or it cannot be used now."""


class Driven(Protocol):
    """A session as this module sees it."""

    id: str

    def drive(self, message: bytes | None) -> None:
        """Move the avatar by packed parameters from now on, whatever the camera sees; by the camera again if None."""
        ...


def motion_of_parameters(parameters: Parameters, time_s: float) -> Motion:
    """Motion of parameters, at another time."""
    if not parameters.tracked:
        return Motion(time_s, tracked=False)
    return Motion(time_s, True, parameters.rotation, parameters.position, parameters.gaze, parameters.weights)


def parameters_of_motion(motion: Motion) -> Parameters:
    """Parameters of motion that came just now."""
    now_s = time.monotonic()
    return Parameters(
        sequence=0,  # counted where they are sent to the pages
        tracked=motion.tracked,
        capture_time_s=now_s,
        received_time_s=now_s,
        delay_s=0.0,
        rotation=motion.rotation,
        position=motion.position,
        gaze=motion.gaze,
        weights=motion.weights,
    )


class SessionMotion:
    """What one session sends and receives."""

    def __init__(self, session: Driven) -> None:
        self.session = session
        self.source: str | None = None
        """Address by which the avatar is moved; None: by the camera."""
        self.trouble: str | None = None
        """The last thing that went wrong, in words for people."""
        self._outputs: Sequence[MotionOutput] = ()
        self._incoming: MotionSource | None = None
        self._following: asyncio.Task[None] | None = None
        self._shown = AbsenceFilter()

    @property
    def sends(self) -> bool:
        """Whether motion leaves the server."""
        return bool(self._outputs)

    @property
    def idle(self) -> bool:
        """Whether nothing is sent or received."""
        return not self._outputs and self.source is None

    def send(self, message: bytes) -> None:
        """Send packed parameters as they are shown in the pages; never waits."""
        if self._outputs:
            motion = self._shown(motion_of_parameters(Parameters.unpack(message), time.monotonic()))
            for output in self._outputs:
                output.send(motion)

    async def set_outputs(self, outputs: Sequence[MotionOutput]) -> None:
        """Send there from now on, and nowhere else."""
        before, self._outputs = self._outputs, outputs
        for output in before:
            await output.close()

    async def set_source(self, address: str | None, source: MotionSource | None) -> None:
        """Receive from there from now on; move the avatar by the camera if None."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        if self._incoming is not None:
            await self._incoming.close()
        self.source, self._incoming = address, source
        self._following = None if source is None else asyncio.create_task(self._follow(source))
        self.session.drive(None)

    def report(self, text: str) -> None:
        """Note what went wrong."""
        self.trouble = text
        logger.info("motion of a session: %s", text)

    async def _follow(self, source: MotionSource) -> None:
        while (motion := await source.take()) is not None:
            self.session.drive(parameters_of_motion(self._shown(motion)).pack())


class MotionExchange:
    """Motion of all sessions of a server."""

    def __init__(self, settings: SessionMotionSettings) -> None:
        """
        :raises ConfigError: if an address cannot be read.
        """
        self._settings = settings
        self._outputs = _addresses(settings.outputs, "motion.outputs")
        self._sources = _addresses(settings.sources, "motion.sources")
        self._sessions: dict[str, SessionMotion] = {}
        self._change = asyncio.Lock()
        """One change at a time, so that no two sessions open an address."""

    def state(self, session: Driven) -> dict[str, object]:
        """What the server offers to a session's owner, and what the session uses of it."""
        own = self._sessions.get(session.id)
        return {
            "outputs": list(self._outputs),
            "sources": list(self._sources),
            "send": own is not None and own.sends,
            "source": None if own is None else own.source,
            "trouble": None if own is None else own.trouble,
        }

    def send(self, session: Driven, message: bytes) -> None:
        """Send a session's packed parameters to where its owner wants them; never waits."""
        if own := self._sessions.get(session.id):
            own.send(message)

    async def set_sending(self, session: Driven, sends: bool) -> None:
        """Send a session's motion to all outputs, or to none.

        :raises UnknownMotionError: if the server has no outputs.
        :raises MotionTakenError: if another session sends there.
        """
        async with self._change:
            own = self._of(session)
            if sends == own.sends:
                return
            opened: list[MotionOutput] = []
            if sends:
                if not self._outputs:
                    raise UnknownMotionError("this server sends motion to no other program: `motion.outputs` is empty")
                if any(other.sends for other in self._sessions.values()):
                    raise MotionTakenError("another session sends its motion already: it must end that first")
                opened = await self._opened_outputs(own)
            own.trouble = None
            await own.set_outputs(opened)

    async def _opened_outputs(self, own: SessionMotion) -> list[MotionOutput]:
        """All outputs.

        :raises MotionTakenError: if one of them cannot be had.
        """
        async with contextlib.AsyncExitStack() as stack:
            opened = []
            for address in self._outputs.values():
                try:
                    output = await open_output(address, self._settings, own.report)
                except ConfigError as error:
                    raise MotionTakenError(str(error)) from error
                stack.push_async_callback(output.close)
                opened.append(output)
            stack.pop_all()
            return opened

    async def set_source(self, session: Driven, source: str | None) -> None:
        """Move a session's avatar by a source; by its camera if None.

        :raises UnknownMotionError: if the server does not offer it.
        :raises MotionTakenError: if another session uses it, or another program has its port.
        """
        async with self._change:
            own = self._of(session)
            if source == own.source:
                return
            opened = None
            if source is not None:
                if source not in self._sources:
                    raise UnknownMotionError(f"this server receives no motion at {source[:100]!r}")
                if any(other.source == source for other in self._sessions.values()):
                    raise MotionTakenError("another session is moved by this source already")
                try:
                    opened = await open_source(self._sources[source], own.report)
                except ConfigError as error:
                    raise MotionTakenError(str(error)) from error
            own.trouble = None
            await own.set_source(source, opened)

    async def release(self, session: Driven) -> None:
        """Send and receive nothing more for a session that has ended."""
        if own := self._sessions.pop(session.id, None):
            await own.set_outputs(())
            await own.set_source(None, None)

    def _of(self, session: Driven) -> SessionMotion:
        own = self._sessions.get(session.id)
        if own is None or own.session is not session:
            own = self._sessions[session.id] = SessionMotion(session)
        return own


def _addresses(texts: Sequence[str], where: str) -> dict[str, MotionAddress]:
    """Addresses by how the operator wrote them."""
    try:
        return {text: parse_address(text) for text in texts}
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from error
