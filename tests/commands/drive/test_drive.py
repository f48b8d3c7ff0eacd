"""`fitme drive`: videos and takes to files and receivers, and words for what cannot be."""

import math
import socket
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from fitme import cli
from fitme.avatar import Avatar
from fitme.commands.drive.settings import DriveSettings, VirtualCameraSettings
from fitme.commands.drive.virtual_camera import AvatarFrames
from fitme.configuration import load_settings
from fitme.motion.live_link import unpacked_packet
from fitme.motion.motion import Motion
from fitme.motion.rotations import rotation_of_angles
from fitme.motion.take import TakeWriter, read_take
from fitme.motion.vmc import VmcDecoder
from fitme.reflectance.maps import ReflectanceMaps
from fitme.shape.expressions import EXPRESSION_NAMES
from fitme.shape.model_file import load_default_model
from fitme.stage import Stage

ROOT = Path(__file__).parents[3]
SAMPLE = ROOT / "client" / "assets" / "sample.webm"
FRAMES = 24
JAW = EXPRESSION_NAMES.index("jawOpen")


@pytest.fixture
def run_fitme(monkeypatch, capfd):
    """Runs the command line in this process: (exit code, standard error)."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["fitme", *map(str, arguments)])
        code = 0
        try:
            cli.main()
        except SystemExit as exit_:
            code = exit_.code
        return code, capfd.readouterr().err

    return run


@pytest.fixture
def take(tmp_path):
    """A second of motion at 60 Hz."""
    path = tmp_path / "take.jsonl"
    with TakeWriter(path, "test") as writer:
        for frame in range(60):
            weights = [0.0] * len(EXPRESSION_NAMES)
            weights[JAW] = round(0.5 - 0.5 * math.cos(0.2 * frame), 5)
            writer.write(Motion(frame / 60.0, True, rotation_of_angles(0.01 * frame, 0.0, 0.0), weights=tuple(weights)))
    return path


@pytest.fixture
def receivers():
    """Two sockets that hold what is sent to them."""
    sockets = []
    for _ in range(2):
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        opened.bind(("127.0.0.1", 0))
        opened.setblocking(False)
        sockets.append(opened)
    yield sockets
    for opened in sockets:
        opened.close()


def received(opened):
    datagrams = []
    while True:
        try:
            datagrams.append(opened.recv(4096))
        except BlockingIOError:
            return datagrams


def test_a_video_becomes_a_take(run_fitme, tmp_path):
    clip = tmp_path / "clip.mp4"
    with av.open(str(SAMPLE)) as source, av.open(str(clip), "w") as target:
        stream = target.add_stream("mpeg4", rate=30, options={"qscale": "2"})
        stream.width, stream.height = source.streams.video[0].width, source.streams.video[0].height
        for index, frame in enumerate(source.decode(video=0)):
            if index == FRAMES:
                break
            target.mux(stream.encode(frame.reformat(format="yuv420p")))
        target.mux(stream.encode(None))
    code, words = run_fitme("drive", "--source", clip, "--to", tmp_path / "out.jsonl")
    assert code == 0, words
    assert f"sent {FRAMES} motions" in words
    recorded = read_take(tmp_path / "out.jsonl")
    assert recorded.source == str(clip)
    assert len(recorded.motions) == FRAMES
    assert recorded.duration_s == pytest.approx((FRAMES - 1) / 30.0, abs=0.01)
    assert all(motion.tracked for motion in recorded.motions)
    assert all(-1.5 < motion.position[2] < -0.2 for motion in recorded.motions)
    assert max(max(motion.weights) for motion in recorded.motions) > 0.02


def test_a_take_is_played_to_several_receivers(run_fitme, take, receivers):
    vmc, live_link = (opened.getsockname()[1] for opened in receivers)
    code, words = run_fitme(
        "drive", "--source", take, "--to", f"vmc://127.0.0.1:{vmc}", "--to", f"livelink://127.0.0.1:{live_link}/Alice"
    )
    assert code == 0, words
    packets = [unpacked_packet(datagram, 0.0) for datagram in received(receivers[1])]
    assert {packet.subject for packet in packets} == {"Alice"}
    assert len(packets) > 30
    sent = {motion.weights[JAW] for motion in read_take(take).motions}
    assert all(min(abs(packet.motion.weights[JAW] - jaw) for jaw in sent) < 1e-6 for packet in packets)
    decoder = VmcDecoder()
    motions = [decoder.unpack(datagram, 0.0) for datagram in received(receivers[0])]
    assert len(motions) == len(packets)
    assert motions[-1].weights[JAW] == pytest.approx(read_take(take).motions[-1].weights[JAW], abs=1e-6)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--source", "camera"], "name a receiver"),
        (["--source", "none.mp4", "--to", "vmc://127.0.0.1"], "there is no such file"),
        (["--source", "none.jsonl", "--to", "vmc://127.0.0.1"], "cannot be read"),
        (["--to", "osc://127.0.0.1"], "not an address of motion"),
        (["--to", "virtualcam"], "--avatar"),
        (["--source", "camera:97", "--to", "vmc://127.0.0.1"], "camera 97 cannot be opened"),
        (["--source", "TAKE", "--to", "vmc://nobody.invalid"], "there is no host 'nobody.invalid'"),
        (["--source", "TAKE", "--to", "websocket://127.0.0.1:TAKEN"], "another program listens at port"),
        (["--source", "livelink://127.0.0.1:RECEIVING", "--to", "vmc://127.0.0.1"], "another program listens at port"),
    ],
)
def test_what_cannot_be_is_one_clear_line(run_fitme, take, receivers, arguments, words):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        names = {"TAKEN": taken.getsockname()[1], "RECEIVING": receivers[0].getsockname()[1], "TAKE": take}
        for name, value in names.items():
            arguments = [argument.replace(name, str(value)) for argument in arguments]
        code, shown = run_fitme("drive", *arguments)
    assert code == 2
    assert words in shown
    assert "Traceback" not in shown


@pytest.fixture(scope="module")
def avatar():
    model = load_default_model()
    return Avatar(
        torch.zeros(model.identity_count), ReflectanceMaps.constant((0.5, 0.3, 0.2), 0.5, 32), 1.2, Stage.SKIN
    )


def test_a_virtual_camera_without_its_package(run_fitme, take, avatar, tmp_path, monkeypatch):
    avatar.save(tmp_path / "avatar.safetensors")
    monkeypatch.setitem(sys.modules, "pyvirtualcam", None)
    code, words = run_fitme("drive", "--source", take, "--to", "virtualcam", "--avatar", tmp_path)
    assert code == 2
    assert "pip install 'fitme[virtual-camera]'" in words


def test_frames_of_the_virtual_camera_show_the_head_as_it_moves(avatar):
    frames = AvatarFrames(avatar, load_default_model(), VirtualCameraSettings(width=160, height=120))
    frontal = frames.draw(Motion(0.0, True)).copy()
    turned = frames.draw(Motion(0.1, True, rotation_of_angles(0.6, 0.0, 0.0))).copy()
    frames.close()
    assert frontal.shape == (120, 160, 3)
    green = np.array([0, 176, 64])
    assert np.abs(frontal[:, :8].astype(int) - green).max() <= 2
    head = np.abs(frontal[40:80, 70:90].astype(int) - green).sum(-1)
    assert head.min() > 60
    assert np.abs(frontal.astype(int) - turned).mean() > 3.0


def test_shipped_settings_are_the_defaults():
    assert load_settings(DriveSettings, ROOT / "configs" / "drive.yaml") == DriveSettings()
