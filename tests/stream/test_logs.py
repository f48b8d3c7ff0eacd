"""Log lines that programs read."""

import json
import logging

from stream.logs import JsonFormatter


def test_a_line_is_one_json_object() -> None:
    try:
        raise ValueError("two\nlines")
    except ValueError as error:
        record = logging.LogRecord(
            "stream.web",
            logging.WARNING,
            __file__,
            1,
            "%s is late",
            ("frame",),
            (ValueError, error, error.__traceback__),
        )
    text = JsonFormatter().format(record)
    assert "\n" not in text
    line = json.loads(text)
    assert (line["level"], line["logger"], line["message"]) == ("warning", "stream.web", "frame is late")
    assert "two\nlines" in line["exception"]
    assert line["time"].endswith("+00:00")
