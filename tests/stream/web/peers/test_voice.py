"""A voice reaches the viewers who ask for it, and ends with the microphone, the link or the session."""

import asyncio
import fractions

import av
import numpy as np
import pytest
from aiortc import MediaStreamTrack, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import AudioStreamTrack, MediaStreamError

from stream.web.peers.candidates import CandidateFilter
from stream.web.peers.network import PeerNetwork
from stream.web.peers.rtc import OfferError
from stream.web.peers.voice import Voice

RATE_HZ, SAMPLES, TONE_HZ = 48_000, 960, 440.0


class Tone(MediaStreamTrack):
    kind = "audio"
    count = 0

    async def recv(self) -> av.AudioFrame:
        if self.readyState != "live":
            raise MediaStreamError
        await asyncio.sleep(SAMPLES / RATE_HZ)
        times_s = (self.count * SAMPLES + np.arange(SAMPLES)) / RATE_HZ
        wave = (12_000 * np.sin(2 * np.pi * TONE_HZ * times_s)).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
        frame.sample_rate, frame.pts, frame.time_base = RATE_HZ, self.count * SAMPLES, fractions.Fraction(1, RATE_HZ)
        self.count += 1
        return frame


async def listener(voice: Voice, link: str = "link") -> tuple[RTCPeerConnection, MediaStreamTrack]:
    connection = RTCPeerConnection()
    tracks: list[MediaStreamTrack] = []
    connection.on("track", tracks.append)
    connection.addTransceiver("audio", direction="recvonly")
    await connection.setLocalDescription(await connection.createOffer())
    sdp = connection.localDescription.sdp
    answer = await voice.listen(sdp, link, PeerNetwork(), CandidateFilter("127.0.0.1"), 20.0)
    await connection.setRemoteDescription(RTCSessionDescription(answer, "answer"))
    return connection, tracks[0]


async def loudest_frequency_hz(track: MediaStreamTrack) -> float:
    parts: list[np.ndarray] = []
    while sum(part.size for part in parts) < RATE_HZ // 2:
        frame = await asyncio.wait_for(track.recv(), 20.0)
        samples = frame.to_ndarray().reshape(-1, len(frame.layout.channels))[:, 0].astype(np.float64)
        if np.abs(samples).max() > 2000:
            parts.append(samples)
    wave = np.concatenate(parts)
    return float(np.fft.rfftfreq(wave.size, 1 / RATE_HZ)[np.abs(np.fft.rfft(wave)).argmax()])


async def test_viewers_hear_the_tone_until_their_link_ends() -> None:
    voice = Voice(Tone())
    (first, first_track), (second, second_track) = await listener(voice), await listener(voice, "other")
    assert abs(await loudest_frequency_hz(first_track) - TONE_HZ) < 10.0
    assert abs(await loudest_frequency_hz(second_track) - TONE_HZ) < 10.0
    await voice.close_link("other")
    assert len(voice) == 1
    with pytest.raises((MediaStreamError, TimeoutError)):
        while True:
            await asyncio.wait_for(second_track.recv(), 20.0)
    assert abs(await loudest_frequency_hz(first_track) - TONE_HZ) < 10.0
    await voice.close()
    assert len(voice) == 0
    await first.close()
    await second.close()


async def test_bad_offers_leave_nothing() -> None:
    voice = Voice(AudioStreamTrack())
    sending = RTCPeerConnection()
    sending.addTransceiver("video", direction="recvonly")
    await sending.setLocalDescription(await sending.createOffer())
    for sdp in ("", "v=0", "nonsense", sending.localDescription.sdp):
        with pytest.raises(OfferError):
            await voice.listen(sdp, "link", PeerNetwork(), CandidateFilter("127.0.0.1"), 1.0)
    assert len(voice) == 0
    await voice.close()
    await sending.close()


async def test_who_never_connects_is_dropped() -> None:
    voice = Voice(AudioStreamTrack())
    silent = RTCPeerConnection()
    silent.addTransceiver("audio", direction="recvonly")
    await silent.setLocalDescription(await silent.createOffer())
    await voice.listen(silent.localDescription.sdp, "link", PeerNetwork(), CandidateFilter("127.0.0.1"), 0.1)
    assert len(voice) == 1
    while len(voice):
        await asyncio.sleep(0.02)
    await voice.close()
    await silent.close()
