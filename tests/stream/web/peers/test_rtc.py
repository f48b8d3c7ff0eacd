"""A real peer sends video to `CameraPeer`: newest frames only, the loop never blocked, bad offers are typed errors."""

import asyncio
import time

import av
import numpy as np
import pytest
from aiortc import RTCPeerConnection, RTCRtpSender, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from stream.bench.native_peer import ClipTrack, frames_of
from stream.settings import CameraSettings
from stream.web.peers.candidates import CandidateFilter
from stream.web.peers.decoders import install_decoders
from stream.web.peers.network import PeerNetwork
from stream.web.peers.rtc import CameraPeer, OfferError


@pytest.fixture(autouse=True)
def decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("aiortc.rtcrtpreceiver.get_decoder", None)
    install_decoders(CameraSettings())


class Camera:
    """A `CameraPeer`, what it delivered, and the peer at the other end."""

    def __init__(
        self,
        *,
        max_pixels: int = 320 * 240,
        sink_delay_s: float = 0.0,
        silence_s: float = 5.0,
        may_be_silent: bool = False,
        network: PeerNetwork | None = None,
    ) -> None:
        self.frames: list[tuple[np.ndarray, float, float]] = []
        self.states: list[str] = []
        self.sink_delay_s = sink_delay_s
        self.remote = RTCPeerConnection()
        self.refusals: list[tuple[str, int | None]] = []
        self._may_be_silent = may_be_silent
        self.peer = CameraPeer(
            network or PeerNetwork(),
            max_pixels,
            self,
            CandidateFilter("127.0.0.1"),
            connect_timeout_s=5.0,
            silence_timeout_s=silence_s,
        )

    def take(self, image: np.ndarray, capture_time_s: float, received_time_s: float) -> None:
        time.sleep(self.sink_delay_s)
        self.frames.append((image, capture_time_s, received_time_s))

    def change(self, state: str) -> None:
        self.states.append(state)

    def refuse(self, reason: str, max_pixels: int | None) -> None:
        self.refusals.append((reason, max_pixels))

    def may_be_silent(self) -> bool:
        return self._may_be_silent

    async def connect(self) -> str:
        await self.remote.setLocalDescription(await self.remote.createOffer())
        answer = await self.peer.accept(self.remote.localDescription.sdp)
        await self.remote.setRemoteDescription(RTCSessionDescription(answer, "answer"))
        return answer

    async def until(self, count: int) -> None:
        deadline_s = time.monotonic() + 10.0
        while len(self.frames) < count:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)

    async def until_state(self, state: str) -> None:
        deadline_s = time.monotonic() + 10.0
        while self.states[-1:] != [state]:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.01)

    async def close(self) -> None:
        await self.peer.close()
        await self.remote.close()


def clip(width: int = 320, height: int = 240) -> ClipTrack:
    ramp = np.linspace(0, 200, width, dtype=np.uint8)[None, :, None]
    images = [np.broadcast_to(ramp + shift, (height, width, 3)).copy() for shift in range(0, 50, 10)]
    return ClipTrack(frames_of(images))


async def test_frames_arrive_and_the_end_is_told() -> None:
    camera = Camera()
    camera.remote.addTrack(clip())
    await camera.connect()
    await camera.until(20)
    image, _, _ = camera.frames[10]
    assert image.shape == (240, 320, 3)
    assert image.dtype == np.uint8
    assert abs(float(image[:, 0].mean()) - float(image[:, -1].mean())) > 150
    captured = np.array([frame[1] for frame in camera.frames])
    received = np.array([frame[2] for frame in camera.frames])
    assert captured[0] == 0.0
    assert (np.diff(captured) > 0).all()
    assert abs((received[-1] - received[0]) - captured[-1]) < 0.5
    await camera.close()
    assert camera.states == ["connected", "closed"]
    count = len(camera.frames)
    await asyncio.sleep(0.1)
    assert len(camera.frames) == count


async def test_slow_sink_gets_the_newest_and_blocks_nobody() -> None:
    camera = Camera(sink_delay_s=0.25)
    camera.remote.addTrack(clip())
    await camera.connect()
    await camera.until(1)
    worst_s, start_s = 0.0, time.monotonic()
    while len(camera.frames) < 6:
        before_s = time.monotonic()
        await asyncio.sleep(0.005)
        worst_s = max(worst_s, time.monotonic() - before_s)
        assert time.monotonic() - start_s < 10.0
    captured = np.array([frame[1] for frame in camera.frames[1:]])
    assert (np.diff(captured) > 0.15).all()
    assert worst_s < 0.2
    await camera.close()


async def test_large_frames_are_shrunk() -> None:
    camera = Camera(max_pixels=200 * 150)
    camera.remote.addTrack(clip(400, 300))
    await camera.connect()
    await camera.until(1)
    height, width = camera.frames[0][0].shape[:2]
    assert width * height <= 200 * 150
    assert abs(width / height - 4 / 3) < 0.03
    await camera.close()


async def test_bombs_are_dropped_before_they_are_decoded() -> None:
    install_decoders(CameraSettings(decoded_pixels_limit=320 * 240))
    camera = Camera()
    camera.remote.addTrack(clip(800, 608))
    await camera.connect()
    deadline_s = time.monotonic() + 10.0
    while not camera.refusals:
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.01)
    assert camera.refusals == [("frames of 800 x 608 pixels: at most 76800 pixels are taken", 320 * 240)]
    assert not camera.frames
    await camera.close()


async def test_one_microphone_is_received_and_all_else_declined() -> None:
    camera = Camera()
    camera.remote.addTrack(AudioStreamTrack())
    camera.remote.addTrack(AudioStreamTrack())
    camera.remote.addTrack(clip())
    answer = await camera.connect()
    first, second, video = answer.split("\r\nm=")[1:]
    assert "a=recvonly" in first
    assert "a=inactive" in second
    assert "a=recvonly" in video
    assert camera.peer.voice is not None
    await camera.until(3)
    await camera.close()


async def test_trickled_candidates_connect() -> None:
    """The offer's candidates are cut out and handed over one by one."""
    camera = Camera()
    camera.remote.addTrack(clip())
    await camera.remote.setLocalDescription(await camera.remote.createOffer())
    lines = camera.remote.localDescription.sdp.splitlines()
    bare = [line for line in lines if not line.startswith(("a=candidate", "a=end-of-candidates"))]
    answer = await camera.peer.accept("\r\n".join(bare) + "\r\n")
    await camera.remote.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    for line in lines:
        if line.startswith("a=candidate"):
            await camera.peer.add_candidate(line.removeprefix("a="), "0", 0)
    await camera.peer.add_candidate(None, "0", 0)
    for bad in ("nonsense", "candidate:1 2", "candidate:a b c d e f typ host"):
        with pytest.raises(OfferError):
            await camera.peer.add_candidate(bad, "0", 0)
    await camera.until(1)
    await camera.close()


async def test_camera_that_never_connects_leaves_no_task() -> None:
    camera = Camera()
    camera.remote.addTrack(clip())
    await camera.remote.setLocalDescription(await camera.remote.createOffer())
    before = asyncio.all_tasks()
    await camera.peer.accept(camera.remote.localDescription.sdp)
    await asyncio.sleep(0.1)
    assert asyncio.all_tasks() - before
    await camera.close()
    await asyncio.sleep(0.1)
    assert not asyncio.all_tasks() - before


async def test_silent_camera_is_closed() -> None:
    camera = Camera(silence_s=0.4)
    track = clip()
    camera.remote.addTrack(track)
    await camera.connect()
    await camera.until(3)
    track.stop()
    deadline_s = time.monotonic() + 5.0
    while camera.states[-1] != "closed":
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    await camera.close()


async def test_a_camera_may_be_silent_while_its_page_is_hidden() -> None:
    camera = Camera(silence_s=0.2, may_be_silent=True)
    track = clip()
    camera.remote.addTrack(track)
    await camera.connect()
    await camera.until(3)
    for sender in camera.remote.getSenders():
        sender.replaceTrack(None)
    await camera.until_state("silent")
    await asyncio.sleep(0.5)
    assert camera.states == ["connected", "silent"]
    sender.replaceTrack(clip())
    await camera.until_state("connected")
    await camera.close()
    assert camera.states == ["connected", "silent", "connected", "closed"]


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_peers_with_one_codec_alone(codec: str) -> None:
    camera = Camera()
    camera.remote.addTrack(clip())
    (transceiver,) = camera.remote.getTransceivers()
    known = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([each for each in known if each.mimeType == f"video/{codec}"])
    answer = await camera.connect()
    assert f"{codec}/90000" in answer
    await camera.until(10)
    assert abs(float(camera.frames[9][0][:, 0].mean()) - float(camera.frames[9][0][:, -1].mean())) > 150
    await camera.close()


class GrowingTrack(ClipTrack):
    """A camera that changes its resolution: a window that is resized, a phone that is turned."""

    async def recv(self) -> av.VideoFrame:
        frame = await super().recv()
        size = {0: (320, 240), 1: (240, 320), 2: (640, 480)}[min(self._count // 10, 2)]
        grown = frame.reformat(width=size[0], height=size[1])
        grown.pts, grown.time_base = frame.pts, frame.time_base
        return grown


@pytest.mark.parametrize("codec", ["VP8", "H264"])
async def test_the_resolution_may_change_under_way(codec: str) -> None:
    camera = Camera(max_pixels=640 * 480)
    camera.remote.addTrack(GrowingTrack(frames_of([np.full((240, 320, 3), 120, np.uint8)] * 2)))
    (transceiver,) = camera.remote.getTransceivers()
    known = RTCRtpSender.getCapabilities("video").codecs
    transceiver.setCodecPreferences([each for each in known if each.mimeType == f"video/{codec}"])
    await camera.connect()
    deadline_s = time.monotonic() + 10.0
    while (640, 480) not in (seen := [frame[0].shape[1::-1] for frame in camera.frames]):
        assert time.monotonic() < deadline_s
        await asyncio.sleep(0.02)
    assert list(dict.fromkeys(seen)) == [(320, 240), (240, 320), (640, 480)]
    assert camera.states == ["connected"]
    await camera.close()


async def offer_sdp(*, audio_only: bool = False) -> str:
    remote = RTCPeerConnection()
    remote.addTrack(AudioStreamTrack() if audio_only else clip())
    await remote.setLocalDescription(await remote.createOffer())
    sdp: str = remote.localDescription.sdp
    await remote.close()
    return sdp


async def refuse_or_answer(sdp: str) -> bool:
    """Whether an offer was answered; anything but an answer or an `OfferError` fails the test."""
    camera = Camera()
    try:
        await camera.peer.accept(sdp)
    except OfferError:
        assert camera.states == ["closed"]
        return False
    await camera.peer.close()
    return True


@pytest.mark.parametrize("sdp", ["", "v=0", "nonsense\r\n", "m=video", "a=\r\nb=\r\n", "v=0\r\nm=video x y z\r\n"])
async def test_malformed_offers_are_refused(sdp: str) -> None:
    assert not await refuse_or_answer(sdp)


async def test_offer_without_video_is_refused() -> None:
    assert not await refuse_or_answer(await offer_sdp(audio_only=True))


async def test_an_offer_that_is_taken_in_part_is_refused() -> None:
    sdp = await offer_sdp()
    # The transport of a section that there is not.
    assert not await refuse_or_answer(sdp.replace("a=group:BUNDLE ", "a=group:BUNDLE nobody "))


OFFER_LINES = asyncio.run(offer_sdp()).splitlines()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_damaged_offers_are_refused_or_answered(data: st.DataObject) -> None:
    """Lines of a good offer are dropped, cut, doubled or exchanged."""
    lines = list(OFFER_LINES)
    for _ in range(data.draw(st.integers(1, 4))):
        index = data.draw(st.integers(0, len(lines) - 1))
        match data.draw(st.sampled_from(["drop", "cut", "double", "other", "digits"])):
            case "drop":
                del lines[index]
            case "cut":
                lines[index] = lines[index][: data.draw(st.integers(0, len(lines[index])))]
            case "double":
                lines.insert(index, lines[index])
            case "other":
                lines[index] = data.draw(st.sampled_from(OFFER_LINES))
            case "digits":
                lines[index] = "".join("9" if char.isdigit() else char for char in lines[index])
    asyncio.run(refuse_or_answer("\r\n".join(lines) + "\r\n"))
