"""The page in Firefox: a session with its camera, and a guest."""

import pytest

from .firefox import Firefox, find_firefox

PROGRAM = find_firefox()
pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(PROGRAM is None, reason="Firefox is not installed (Debian: apt-get install firefox-esr)"),
]
LIVE = "document.querySelector('#stage').classList.contains('live')"


@pytest.fixture
def firefox(tmp_path):
    browsers = []

    def start(name):
        (tmp_path / name).mkdir()
        browsers.append(Firefox(PROGRAM, tmp_path / name))
        return browsers[-1]

    yield start
    for one in browsers:
        one.close()


def test_session_and_guest(server, firefox):
    owner = firefox("owner")
    owner.goto(server.address)
    assert owner.evaluate("document.querySelector('#start-camera').disabled")
    owner.click("#agree")
    owner.click("#start-camera")
    owner.until(LIVE, 120.0)
    owner.until("document.querySelector('#connection').textContent === 'Live'")
    assert owner.evaluate("document.activeElement.id") == "avatar"
    assert owner.evaluate("document.querySelector('#camera').videoWidth") > 0

    owner.click("#invite")
    owner.click("#new-link")
    owner.until("document.querySelector('#links input') !== null")
    address = owner.evaluate("document.querySelector('#links input').value")
    guest = firefox("guest")
    guest.goto(address)
    guest.until(LIVE, 120.0)
    owner.until("document.querySelector('#viewers').textContent === '1 watches'")
    owner.click("#close-guests")
    owner.click("#leave")
    guest.until("document.querySelector('#notice-title').textContent === 'The session has ended'")
    owner.until("!document.querySelector('#welcome').hidden")
    assert server.is_empty()
    assert owner.errors == []
    assert guest.errors == []
