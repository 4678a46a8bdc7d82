"""Questions to a header section have the same answers, whether places are noted or not."""

from __future__ import annotations

import pytest

from upesi.mail.headers import Headers

_FIELDS = (
    b"Received: one\r\n two\r\nTO : x\r\nSubject: s\r\nto: y\r\nX-Long: "
    + b"a" * 70
    + b"\r\nno field\r\nTo\t:\r\n z\r\nTopic: t\r\n"
)


@pytest.mark.parametrize("padding", [0, 20_000], ids=["short", "long"])
def test_a_long_section_answers_as_a_short_one(padding: int) -> None:
    """A section beyond what is noted is searched instead (RFC 5322 section 4.5: blanks before the colon, any case)."""
    headers = Headers(_FIELDS + b"X-Padding: " + b"p" * padding + b"\r\n\r\nTo: body\r\n")
    assert headers.count("To") == 3
    assert headers.get("to") == "x"
    assert headers.all("TO") == ["x", "y", "z"]
    assert [value for value, _ in headers.placed("To")] == ["x", "y", "z"]
    assert headers.count("To") == len(headers.all("To"))
    assert headers.get("Received") == "one two"
    assert headers.get("no field") is None
    assert headers.count("topic") == 1
    assert headers.all("body") == []
