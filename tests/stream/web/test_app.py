"""Answers of the application that need no engine."""

from pathlib import Path

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from stream.web.app import _TemporaryFileResponse


@pytest.mark.parametrize("wanted", [None, "bytes=0-3", "bytes=5", "bytes=9-1", "lines=1-2", "bytes=99999999999-"])
async def test_an_exported_file_is_removed_however_its_request_ends(tmp_path: Path, wanted: str | None) -> None:
    file = tmp_path / "avatar.glb"
    file.write_bytes(b"glTF and more")

    async def answer(_request: Request) -> Response:
        return _TemporaryFileResponse(file)

    transport = httpx.ASGITransport(Starlette(routes=[Route("/", answer)]))
    async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
        answered = await client.get("/", headers={} if wanted is None else {"Range": wanted})
    assert answered.status_code in (200, 206, 400, 416)
    assert not file.exists()
