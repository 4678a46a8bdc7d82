"""Who a From or Sender field names, read in one way or not at all (RFC 5322 section 3.4, RFC 6854)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.originators import MAX_ORIGINATORS, originators


@pytest.mark.parametrize(
    ("value", "addresses"),
    [
        ("anna@example.org", ["anna@example.org"]),
        ("Anna <anna@example.org>", ["anna@example.org"]),
        ("<anna@example.org>", ["anna@example.org"]),
        (" \t anna@example.org (at home) ", ["anna@example.org"]),
        ('"Anna, B." <a@b.example>, c@d.example', ["a@b.example", "c@d.example"]),
        ('"bert@example.org" <anna@example.org>', ["anna@example.org"]),
        ("(c (d \\) <x@y>)) anna@example.org", ["anna@example.org"]),
        ("=?utf-8?q?An=40na?= <anna@example.org>", ["anna@example.org"]),
        ("Anna B. Example <anna@example.org>", ["anna@example.org"]),
        ('<"a b"@example.org>', ['"a b"@example.org']),
        ("jos\u00e9@example.org", ["jos\u00e9@example.org"]),
        ('Team: a@b.example, "x" <c@d.example>;', ["a@b.example", "c@d.example"]),
        ("Team: a@b.example;, e@f.example", ["a@b.example", "e@f.example"]),
        ("undisclosed:;", []),
        ("", []),
        (", a@b.example,,", ["a@b.example"]),
    ],
)
def test_addresses_are_found(value: str, addresses: list[str]) -> None:
    """RFC 5322 section 3.4: names, comments, quotes, lists and groups."""
    assert [str(address) for address in originators(value)] == addresses


@pytest.mark.parametrize(
    "value",
    [
        "anna",
        "bert@example.org <anna@example.org>",
        "<anna@example.org> bert@example.org",
        "<anna@example.org> <bert@example.org>",
        "anna@example.org bert@example.org",
        "<<anna@example.org>>",
        "<anna@example.org",
        "anna@example.org>",
        "<@example.net:anna@example.org>",
        "anna @ example.org",
        '"anna@example.org',
        "(anna@example.org",
        "anna@example.org)",
        "Team: a@b.example",
        "a@b.example;",
        "a@b.example: c@d.example;",
        "Team: Other: a@b.example;;",
        ": a@b.example;",
        "<>",
        "anna@example.org\r\nBcc: x@y.example",
        "an\0na@example.org",
        "(" * 17 + ")" * 17 + "a@b.example",
        ",".join(["a@b.example"] * (MAX_ORIGINATORS + 2)),
    ],
)
def test_what_two_programs_would_read_differently_is_refused(value: str) -> None:
    """AUT-06: a field that shows one address here and another there decides nothing."""
    with pytest.raises(ValueError):
        originators(value)


_PIECES = [
    '"',
    "\\",
    "(",
    ")",
    "<",
    ">",
    ",",
    ";",
    ":",
    "@",
    "a",
    "a@b.example",
    " ",
    "\u00e9",
    "\x00",
    "=?utf-8?q?x?=",
]


@given(st.lists(st.sampled_from(_PIECES), max_size=30).map("".join) | st.text(max_size=40))
def test_any_text_is_read_or_refused(value: str) -> None:
    """Garbage gives addresses or ValueError, and every address is one that could be sent to."""
    try:
        found = originators(value)
    except ValueError:
        return
    assert all(address.sendable and str(address) for address in found)


@pytest.mark.parametrize("piece", ["(", '"', "\\", "(\\", "<", "a@b.example,", '"\\', "( )", "x ", ":"])
def test_long_values_cost_linear_time(piece: str) -> None:
    """MSG-16: 256 kB of the worst are read or refused at once; quadratic time would not come to an end here."""
    try:
        originators(piece * (256 * 1024 // len(piece)))
    except ValueError:
        pass
