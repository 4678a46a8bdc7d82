"""Rows of a message, read by older and newer programs of one format version."""

from __future__ import annotations

from zlib import crc32

import msgspec
import pytest

from upesi.mail.body import MemoryBody
from upesi.mail.envelope import Transmission
from upesi.mail.ids import MessageId
from upesi.mail.route import MxRoute
from upesi.spool.records import NewDelivery, NewMessage
from upesi.spool.rows import message_meta, message_row

_ID = MessageId(bytes(16))


def _meta(body: MemoryBody) -> bytes:
    delivery = NewDelivery("q", MxRoute("d.example"), (), 1.0, 2.0)
    message = NewMessage(_ID, 1.0, None, Transmission(), b"", body, (delivery,))
    return bytes(message_row(1, message, body.data, 0)[2])  # type: ignore[arg-type]


def _summed(fields: list[object]) -> tuple[bytes, int]:
    meta = msgspec.msgpack.encode(fields)
    return meta, crc32(meta, crc32(_ID))


def test_a_row_without_what_came_later_is_read_as_not_known() -> None:
    """STO-13: what an older program of this version wrote is read; whether its body is text is not taken for granted."""
    fields = msgspec.msgpack.decode(_meta(MemoryBody(b"a\r\n", text=True)))
    meta, total = _summed(fields[:-1])
    assert message_meta(_ID, meta, b"", total).text is False


@pytest.mark.parametrize("later", [True, "more"])
def test_what_comes_later_still_is_read_over(later: object) -> None:
    """STO-13: fields that a newer program of this version adds at the end hide nothing."""
    fields = msgspec.msgpack.decode(_meta(MemoryBody(b"a\r\n", text=True)))
    meta, total = _summed([*fields, later])
    assert message_meta(_ID, meta, b"", total).text is True
