"""What native libraries need of the system, and the words when it is not there."""

import shutil
import subprocess
import sys

import pytest

HIDDEN = "mount -t tmpfs none /sys && exec"
"""Shell command that hides ``/sys`` in a namespace of its own."""
TRACK = (
    "import numpy as np\n"
    "from fitme.errors import BackendError\n"
    "from fitme.track.factory import landmark_backend\n"
    "try:\n"
    "    landmark_backend().follow(np.zeros((48, 64, 3), np.uint8))\n"
    "except BackendError as error:\n"
    "    print(error)\n"
)


def _may_hide() -> bool:
    command = ["unshare", "--mount", "sh", "-c", f"{HIDDEN} true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True).returncode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="Linux's list of processors")
def test_without_a_list_of_processors_there_is_one_line_and_no_abort() -> None:
    if not _may_hide():
        pytest.skip("this user may not make namespaces in which /sys is hidden")
    command = ["unshare", "--mount", "sh", "-c", f'{HIDDEN} "$0" -c "$1"', sys.executable, TRACK]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "sysfs /sys" in done.stdout
