"""Changes of a message as edits over octets that stay as they are."""

from __future__ import annotations

import pytest

from upesi.mail.body import Body, MemoryBody
from upesi.mail.edits import MAX_EDITS, Edits


class Sparse:
    """A body that counts how many octets are read of it."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)
        self.most = 0

    def read(self, start: int, length: int) -> bytes:
        self.most = max(self.most, length)
        return self._data[start : start + length]

    def chunks(self):
        yield self._data


def _all(body: Body) -> bytes:
    return b"".join(body.chunks())


def test_edits_replace_remove_and_insert():
    """What no edit names stays as it came in."""
    edits = Edits()
    edits.replace(2, 4, b"XYZ")
    edits.replace(6, 8, b"")
    edits.replace(9, 9, b"!")
    assert _all(edits.message(MemoryBody(b"0123456789"))) == b"01XYZ458!9"


def test_what_is_put_in_at_one_place_keeps_its_order():
    """Two banners, or two fields below the others, come in the order in which plugins put them."""
    edits = Edits()
    edits.replace(1, 1, b"a")
    edits.replace(1, 3, b"b")
    edits.replace(1, 1, b"c")
    assert _all(edits.message(MemoryBody(b"0123"))) == b"0acb3"


def test_the_same_octets_can_be_replaced_again():
    """The last plugin's word counts."""
    edits = Edits()
    edits.replace(1, 3, b"first")
    edits.replace(1, 3, b"second")
    assert edits.has(1, 3)
    assert _all(edits.message(MemoryBody(b"0123"))) == b"0second3"


def test_a_larger_edit_takes_the_place_of_those_inside():
    """A part that is removed takes the changes of its own parts with it."""
    edits = Edits()
    edits.replace(2, 3, b"a")
    edits.replace(4, 4, b"b")
    edits.replace(1, 6, b"-")
    assert _all(edits.message(MemoryBody(b"01234567"))) == b"0-67"


@pytest.mark.parametrize("span", [(2, 3), (2, 2), (0, 2), (4, 6), (1, 4)])
def test_an_edit_across_the_border_of_another_is_refused(span: tuple[int, int]):
    """Nobody changes a part of what is gone: what came of it would be neither one's."""
    edits = Edits()
    edits.replace(1, 5, b"")
    with pytest.raises(ValueError):
        edits.replace(*span, b"x")


def test_the_number_of_edits_is_bounded():
    """A plugin that loops is stopped."""
    edits = Edits()
    for at in range(MAX_EDITS):
        edits.replace(2 * at, 2 * at + 1, b"")
    with pytest.raises(ValueError):
        edits.replace(2 * MAX_EDITS, 2 * MAX_EDITS + 1, b"")


def test_a_view_reads_like_the_octets_it_stands_for():
    """Any stretch of the view is that stretch of its chunks, and of the source no more is read than asked for."""
    source = Sparse(bytes(range(200)))
    edits = Edits()
    edits.put_on_top(b"A: top\r\n")
    edits.replace(3, 9, b"new")
    edits.replace(50, 50, b"inserted")
    edits.replace(150, 200, b"")
    view = edits.view(source)
    whole = _all(view)
    assert len(whole) == view.size == 8 + 200 - 6 + 3 + 8 - 50
    for start in range(view.size + 3):
        for length in (0, 1, 7, 60, 1000):
            assert view.read(start, length) == whole[start : start + length]
    source.most = 0
    assert len(view.read(100, 10)) == 10
    assert source.most == 10


def test_a_message_that_begins_with_a_blank_is_kept_from_the_fields_above():
    """RFC 5322 section 2.2.3: a continuation continues whatever is above it, so an empty line stands between (MSG-02)."""
    edits = Edits()
    edits.put_on_top(b"A: b\r\n")
    edits.put_below(b"C: d\r\n", 0)
    assert _all(edits.view(MemoryBody(b" tail\r\n"))) == b"A: b\r\nC: d\r\n\r\n tail\r\n"


def test_a_source_that_became_shorter_is_an_error_of_the_disk():
    """What is stored is whole, or not stored: a view never ends early."""
    source = Sparse(b"0123456789")
    edits = Edits()
    edits.replace(1, 2, b"x")
    view = edits.view(source)
    source._data = b"01234"
    with pytest.raises(OSError, match="shorter"):
        _all(view)


def test_the_view_is_made_anew_after_a_change():
    """What a signer reads is what is stored."""
    edits = Edits()
    body = MemoryBody(b"0123")
    edits.replace(0, 1, b"a")
    first = edits.view(body)
    assert edits.view(body) is first
    edits.put_on_top(b"A: b\r\n")
    assert _all(edits.view(body)) == b"A: b\r\na123"
