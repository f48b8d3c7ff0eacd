"""Sessions that are being ended or activated: one task at a time works at each."""

import asyncio
import contextlib
from collections.abc import AsyncIterator


class EndingSessions:
    """Ids of the sessions whose end or activation from disk is under way."""

    def __init__(self) -> None:
        self._ending: dict[str, asyncio.Future[None]] = {}

    def __contains__(self, session_id: str) -> bool:
        return session_id in self._ending

    async def wait(self, session_id: str) -> None:
        """Wait for an end of this session that is under way."""
        while (ending := self._ending.get(session_id)) is not None:
            await asyncio.shield(ending)

    @contextlib.asynccontextmanager
    async def claim(self, session_id: str) -> AsyncIterator[None]:
        """While the body runs, nobody else activates the session or ends it."""
        await self.wait(session_id)
        ended = self._ending[session_id] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            del self._ending[session_id]
            ended.set_result(None)
