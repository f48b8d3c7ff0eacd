"""First come, first served, as long as one keeps asking."""

from stream.web.sessions.waiting_line import WaitingLine

HERE = "198.51.100.7"


def test_places_are_given_in_order() -> None:
    line = WaitingLine(10.0, 8, 8, lambda: 0.0)
    assert [line.ask(name, 0, HERE) for name in "abc"] == [1, 2, 3]
    assert [line.ask(name, 0, HERE) for name in "cba"] == [3, 2, 1]
    assert line.ask("b", 1, HERE) == 2, "the free place is for the first in the line"
    assert line.ask("d", 1, HERE) == 4
    assert line.ask("a", 1, HERE) == 0
    assert line.ask("c", 2, HERE) == 0
    assert [line.ask(name, 0, HERE) for name in "bd"] == [1, 2]


def test_nobody_waits_for_a_free_place() -> None:
    assert WaitingLine(10.0, 8, 8, lambda: 0.0).ask("a", 1, HERE) == 0


def test_whoever_does_not_ask_again_has_left() -> None:
    now_s = 0.0
    line = WaitingLine(10.0, 8, 8, lambda: now_s)
    assert (line.ask("a", 0, HERE), line.ask("b", 0, HERE)) == (1, 2)
    now_s = 8.0
    assert line.ask("b", 0, HERE) == 2
    now_s = 12.0
    assert line.ask("b", 0, HERE) == 1
    assert len(line) == 1


def test_the_line_is_bounded() -> None:
    line = WaitingLine(10.0, 3, 8, lambda: 0.0)
    assert [line.ask(str(number), 0, HERE) for number in range(100)] == [1, 2, 3] + [4] * 97
    assert len(line) == 3


def test_one_address_cannot_fill_the_line() -> None:
    line = WaitingLine(10.0, 100, 2, lambda: 0.0)
    assert [line.ask(str(number), 0, HERE) for number in range(50)] == [1, 2] + [3] * 48
    assert line.ask("from elsewhere", 0, "203.0.113.1") == 3
    assert line.ask("1", 0, HERE) == 2, "who waits already keeps the place"
