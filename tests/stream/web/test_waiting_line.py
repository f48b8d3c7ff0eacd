"""First come, first served, as long as one keeps asking."""

from stream.web.waiting_line import WaitingLine


def test_places_are_given_in_order() -> None:
    line = WaitingLine(10.0, 8, lambda: 0.0)
    assert [line.ask(name, 0) for name in "abc"] == [1, 2, 3]
    assert [line.ask(name, 0) for name in "cba"] == [3, 2, 1]
    assert line.ask("b", 1) == 2, "the free place is for the first in the line"
    assert line.ask("d", 1) == 4
    assert line.ask("a", 1) == 0
    assert line.ask("c", 2) == 0
    assert [line.ask(name, 0) for name in "bd"] == [1, 2]


def test_nobody_waits_for_a_free_place() -> None:
    assert WaitingLine(10.0, 8, lambda: 0.0).ask("a", 1) == 0


def test_whoever_does_not_ask_again_has_left() -> None:
    now_s = 0.0
    line = WaitingLine(10.0, 8, lambda: now_s)
    assert (line.ask("a", 0), line.ask("b", 0)) == (1, 2)
    now_s = 8.0
    assert line.ask("b", 0) == 2
    now_s = 12.0
    assert line.ask("b", 0) == 1
    assert len(line) == 1


def test_the_line_is_bounded() -> None:
    line = WaitingLine(10.0, 3, lambda: 0.0)
    assert [line.ask(str(number), 0) for number in range(100)] == [1, 2, 3] + [4] * 97
    assert len(line) == 3
