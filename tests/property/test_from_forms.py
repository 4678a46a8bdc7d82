"""The short way to read a From field says what the long way says, or leaves it to that."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from upesi.mailauth.from_domain import _read, _read_closely

_PIECE = st.sampled_from(
    [
        "a",
        "b.example",
        "@",
        "<",
        ">",
        '"',
        " ",
        ".",
        "..",
        "-",
        "_",
        "'",
        "+",
        "192.0.2.1",
        "[192.0.2.1]",
        ",",
        ":",
        ";",
        "(c)",
        "é",
    ]
)


@given(st.lists(_PIECE, max_size=12).map("".join))
@example("a@b.example")
@example("A. B <a@b.example>")
@example('"A. B" <a@b.example>')
@example("a@b.example>")
@example("<a@b.example")
@example("a@b..example")
@example(".a@b.example")
@example("a@192.0.2.1")
def test_a_plain_from_field_is_read_as_a_close_reading_reads_it(value: str) -> None:
    """Whatever the field: the same author, or the same fault (RFC 9989 section 11.5)."""
    value = value.strip(" \t")
    assert _read(value) == _read_closely(value)
