"""A room: the owner invites, a guest watches without a camera, the owner ends it; picture and clip of the avatar."""

import time

import av
import pytest
from PIL import Image

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SECOND = 1000.0
"""Playwright's milliseconds."""
ANSWER_S = 60.0


def _text(page, selector, words):
    page.wait_for_function(
        "([selector, words]) => document.querySelector(selector).textContent.includes(words)",
        arg=[selector, words],
        timeout=ANSWER_S * SECOND,
    )


def _live(page):
    page.wait_for_selector("#stage.live", timeout=ANSWER_S * SECOND)


@pytest.fixture
def owner(browser, open_page, server):
    opened = open_page(browser, accept_downloads=True)
    page = opened.page
    page.check("#agree")
    page.click("#start-camera")
    _live(page)
    yield opened
    page.click("#leave")
    page.wait_for_selector("#welcome:visible")
    server.is_empty()


def test_motion_goes_to_other_programs_while_the_owner_wants_it(owner):
    page = owner.page
    page.click("#invite")
    page.wait_for_selector("#programs:visible")
    _text(page, "#send-motion-words", "vmc://127.0.0.1:9")
    page.check("#send-motion")
    _text(page, "#motion-trouble", "nobody receives there yet")
    page.uncheck("#send-motion")
    _text(page, "#motion-source", "livelink://127.0.0.1:47111")
    page.select_option("#motion-source", "livelink://127.0.0.1:47111")
    page.click("#close-guests")
    page.click("#invite")
    page.wait_for_function("() => document.querySelector('#motion-source').value === 'livelink://127.0.0.1:47111'")
    page.select_option("#motion-source", "")
    page.click("#close-guests")
    assert owner.complaints == []


def test_an_invited_guest_watches_until_the_link_ends(owner, browser, open_page):
    page = owner.page
    page.click("#invite")
    page.click("#new-link")
    page.wait_for_selector("#links li")
    address = page.input_value("#links input")
    assert "/view/" in address

    visitor = open_page(browser)
    guest = visitor.page
    guest.goto(address)
    _live(guest)
    assert guest.evaluate("document.cookie") == ""
    assert guest.context.cookies() == [], "a guest is given nothing to be known by"
    _text(page, "#viewers", "1 watches")
    _text(page, "#links", "1 watches")
    # The owner's background is the guest's.
    page.click("#close-guests")
    page.check("#backgrounds input[value='#e9e7e2']", force=True)
    guest.wait_for_function(
        "() => getComputedStyle(document.querySelector('#stage')).backgroundColor === 'rgb(233, 231, 226)'",
        timeout=ANSWER_S * SECOND,
    )
    # A guest who turns the light has their own, until they give it back.
    if guest.evaluate("document.querySelector('#stage').classList.contains('drawn')"):
        guest.focus("#avatar")
        guest.keyboard.press("ArrowLeft")
        guest.click("#owners-light")
    assert not guest.is_visible("#owners-light")
    page.click("#invite")
    page.click("#links >> text=End")
    _text(guest, "#notice-title", "This link has ended")
    page.wait_for_selector("#viewers", state="hidden")
    guest.reload()
    _text(guest, "#waiting-words", "no longer valid")
    page.click("#close-guests")
    assert owner.complaints == []
    assert visitor.complaints == []


def test_guests_see_that_the_owner_has_left(browser, open_page, server):
    page = open_page(browser).page
    page.check("#agree")
    page.click("#start-camera")
    _live(page)
    page.click("#invite")
    page.click("#new-link")
    page.wait_for_selector("#links li")
    guest = open_page(browser).page
    guest.goto(page.input_value("#links input"))
    _live(guest)
    page.click("#close-guests")
    page.click("#leave")
    _text(guest, "#notice-title", "The session has ended")
    server.is_empty()


def _invite(page):
    page.click("#invite")
    page.click("#new-link")
    page.wait_for_selector("#links li")
    return page.input_value("#links input")


HEARD = """() => {
    const audio = document.querySelector("#audio");
    return audio.srcObject !== null && audio.currentTime > 0.3;
}"""


def test_a_guest_hears_the_owner_if_both_want_it(owner, browser, open_page):
    page = owner.page
    address = _invite(page)
    visitor = open_page(browser)
    guest = visitor.page
    guest.goto(address)
    _live(guest)
    assert not guest.is_visible("#sound")
    page.check("#voice")
    guest.wait_for_selector("#sound:visible", timeout=ANSWER_S * SECOND)
    assert guest.evaluate("document.querySelector('#audio').srcObject") is None
    guest.click("#sound")
    guest.wait_for_function(HEARD, timeout=ANSWER_S * SECOND)
    page.uncheck("#voice")
    guest.wait_for_selector("#sound", state="hidden", timeout=ANSWER_S * SECOND)
    assert guest.evaluate("document.querySelector('#audio').srcObject") is None
    page.click("#close-guests")
    _text(page, "#connection", "Live")
    assert owner.complaints == []
    assert visitor.complaints == []


def test_another_avatar_beside_the_own_one(owner, tmp_path):
    page = owner.page
    address = _invite(page)
    page.fill("#beside-address", "https://elsewhere.example/view/abc")
    page.click("#beside-form button")
    _text(page, "#toast", "no link of this server")
    page.fill("#beside-address", address)
    page.click("#beside-form button")
    frame = page.frame_locator("#beside iframe")
    frame.locator("#stage.live").wait_for(timeout=ANSWER_S * SECOND)
    _text(page, "#viewers", "1 watches")
    own, other = (page.locator(selector).bounding_box() for selector in ("#avatar", "#beside"))
    assert own["x"] + own["width"] / 2 < other["x"], "each has a half"
    page.screenshot(path=tmp_path / "call.png")
    page.click("#close-beside")
    page.wait_for_selector("#viewers", state="hidden", timeout=ANSWER_S * SECOND)
    assert owner.complaints == []


def test_picture_and_clip(owner, tmp_path):
    page = owner.page
    with page.expect_download(timeout=ANSWER_S * SECOND) as picture:
        page.click("#picture")
    picture.value.save_as(tmp_path / "avatar.png")
    with Image.open(tmp_path / "avatar.png") as image:
        assert image.size == (512, 512)
        assert len(image.getcolors(1 << 20)) > 100, "it shows something"
    start_s = time.monotonic()
    with page.expect_download(timeout=ANSWER_S * SECOND) as clip:
        page.click("#clip")
    assert time.monotonic() - start_s > 5.0
    path = tmp_path / clip.value.suggested_filename
    clip.value.save_as(path)
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    assert len(frames) > 10
    assert (frames[0].width, frames[0].height) == (720, 720)
    page.wait_for_selector("#clip:enabled")
    assert page.is_checked("input[name='mode'][value='mirror']")
    assert owner.complaints == []
