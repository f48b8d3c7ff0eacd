"""The page at the sizes of phones, tablets and zoomed windows, with the keyboard, and under axe's rules."""

import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

SECOND = 1000.0
"""Playwright's milliseconds."""
ANSWER_S = 60.0
SIZES = {"phone": (390, 844), "phone on its side": (844, 390), "tablet": (768, 1024), "zoomed to 200 %": (640, 360)}
AXE = Path(sys.prefix) / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """async () => (await axe.run()).violations.map(
    ({ id, nodes }) => `${id}: ${nodes.map((node) => `${node.target} ${node.failureSummary}`).join("; ")}`)"""
BOX = """selector => {
    const box = document.querySelector(selector).getBoundingClientRect();
    return [box.left, box.top, box.right, box.bottom];
}"""


def _box(page, selector):
    return page.evaluate(BOX, selector)


def _inside(page, selector):
    width, height = page.viewport_size["width"], page.viewport_size["height"]
    left, top, right, bottom = _box(page, selector)
    return left >= 0 and top >= 0 and right <= width and bottom <= height and right > left and bottom > top


def _overlap(first, second):
    return min(first[2], second[2]) > max(first[0], second[0]) and min(first[3], second[3]) > max(first[1], second[1])


def _focused(page):
    return page.evaluate("document.activeElement.id")


def _begin(page):
    page.check("#agree")
    page.click("#start-camera")
    page.wait_for_selector("#stage.live", timeout=ANSWER_S * SECOND)


def _leave(page, server):
    page.click("#leave")
    page.wait_for_selector("#welcome:visible")
    server.is_empty()


@pytest.fixture
def sized_page(browser, open_page):
    def at(width, height):
        opened = open_page(browser)
        opened.page.set_viewport_size({"width": width, "height": height})
        return opened

    return at


@pytest.mark.parametrize("size", SIZES)
def test_what_matters_is_in_sight(size, server, sized_page, tmp_path):
    page = sized_page(*SIZES[size]).page
    assert _inside(page, "#start-camera"), "the start is above the fold"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    _begin(page)
    assert _focused(page) == "avatar"
    for selector in ("#camera", "#prompt", "#stage", "#leave", "#tabs"):
        assert _inside(page, selector), selector
    head = _box(page, "#avatar")
    stage = _box(page, "#stage")
    assert head[1] >= stage[1] - 1
    assert head[3] <= stage[3] + 1
    assert not _overlap(_box(page, "#camera"), _box(page, "#prompt"))
    assert page.evaluate("[scrollX, scrollY]") == [0, 0]
    assert page.evaluate("document.documentElement.scrollHeight <= innerHeight")
    # A panel takes its place beside or below the head, and gives it back.
    for _ in range(2):
        page.click("#tabs [data-panel=light]")
    page.click("#tabs [data-panel=light]")
    assert _inside(page, "#light-preset")
    assert not _overlap(_box(page, "#stage"), _box(page, "[data-panel=light].card"))
    for selector in ("#camera", "#prompt"):
        assert _inside(page, selector), selector
    page.screenshot(path=tmp_path / "panel.png")
    _leave(page, server)
    assert _focused(page) == "welcome"
    assert page.evaluate("scrollY") == 0


@pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed (npm, see Makefile)")
@pytest.mark.parametrize("size", [(1280, 720), SIZES["phone"]])
def test_axe_finds_nothing(size, server, sized_page):
    page = sized_page(*size).page
    page.evaluate(AXE.read_text())
    assert page.evaluate(VIOLATIONS) == []
    _begin(page)
    assert page.evaluate(VIOLATIONS) == []
    if page.is_visible("#tabs"):
        for panel in ("light", "directions", "fit", "camera", "yours"):
            page.click(f"#tabs [data-panel={panel}]")
            assert page.evaluate(VIOLATIONS) == [], panel
    page.click("#invite")
    page.click("#new-link")
    page.wait_for_selector("#links li")
    assert page.evaluate(VIOLATIONS) == []
    guest = sized_page(*size).page
    guest.goto(page.input_value("#links input"))
    guest.wait_for_selector("#stage.live", timeout=ANSWER_S * SECOND)
    guest.evaluate(AXE.read_text())
    assert guest.evaluate(VIOLATIONS) == []
    page.keyboard.press("Escape")
    assert page.evaluate("document.activeElement.id") == "invite"
    _leave(page, server)
