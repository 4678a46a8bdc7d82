"""Checksums of files whose beginning has changed."""

from __future__ import annotations

from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.spool.bodies import BodyFolder, BodyWriter
from upesi.spool.body_file import FileBody
from upesi.spool.checksum import crc_of_changed


@given(st.binary(max_size=300), st.binary(max_size=300), st.randoms())
def test_the_checksum_follows_a_change_of_the_beginning(new: bytes, rest: bytes, random):  # type: ignore[no-untyped-def]
    """It is that of the new octets, whatever was there and however much follows."""
    old = random.randbytes(len(new))
    assert crc_of_changed(crc32(old + rest), old, new, len(new + rest)) == crc32(new + rest)


def test_the_checksum_of_a_large_file_follows():
    """25 MB behind the change."""
    rest = bytes(25_000_000)
    assert crc_of_changed(crc32(b"old" + rest), b"old", b"new", len(rest) + 3) == crc32(b"new" + rest)


@pytest.fixture
def writer(tmp_path) -> BodyWriter:  # type: ignore[no-untyped-def]
    folder = BodyFolder(tmp_path, 100)
    folder.create()
    return folder.writer()


def test_a_file_takes_another_beginning(writer: BodyWriter):
    """The octets and the checksum are those of the new message; nothing behind the beginning is written."""
    writer.write(b"0123456789" * 100)
    body = writer.finish()
    assert isinstance(body, FileBody)
    body.begin_with(b"abc")
    assert body.read(0, 5) == b"abc34"
    body.verify()
    writer.discard()
