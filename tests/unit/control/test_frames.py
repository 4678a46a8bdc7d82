"""The frames of the control socket: pure, cut anywhere, bounded."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.control.frames import MAX_FRAME, VERSION, Frame, FrameError, FrameReader, Kind, encode_frame

values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text() | st.binary() | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)
frames = st.builds(Frame, st.sampled_from(Kind), st.integers(0, 2**32), st.text(max_size=20), values)


@given(st.lists(frames, max_size=5), st.data())
def test_frames_come_out_the_same_however_the_stream_is_cut(sent: list[Frame], data: st.DataObject) -> None:
    """Any cutting of the octets gives the frames that were sent, in order."""
    stream = b"".join(map(encode_frame, sent))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    reader = FrameReader()
    got: list[Frame] = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        got += reader.feed(stream[start:end])
    assert got == sent


@given(st.binary(max_size=200))
def test_any_octets_are_frames_or_a_frame_error(data: bytes) -> None:
    """Nothing that a peer sends raises anything else."""
    try:
        FrameReader().feed(data)
    except FrameError:
        pass


def test_an_oversize_frame_is_refused_from_its_length_alone() -> None:
    """Four octets are enough to know; 4 GB are never gathered."""
    with pytest.raises(FrameError, match="not allowed"):
        FrameReader().feed((MAX_FRAME + 1).to_bytes(4, "big"))
    with pytest.raises(FrameError, match="not allowed"):
        FrameReader().feed(bytes(4))


def test_another_version_is_refused_before_its_body_is_read() -> None:
    """The version stands in front, so that an unknown body is never parsed."""
    wire = encode_frame(Frame(Kind.NOTICE, 0, "x"), version=VERSION + 1)
    with pytest.raises(FrameError, match=f"version {VERSION + 1}, this program {VERSION}"):
        FrameReader().feed(wire[:5])


def test_what_is_too_large_or_not_plain_is_refused_when_sent() -> None:
    """The sender learns of it, not the receiver."""
    with pytest.raises(FrameError, match="octets"):
        encode_frame(Frame(Kind.REPLY, 1, "big", b"x" * MAX_FRAME))
    with pytest.raises(FrameError, match="odd"):
        encode_frame(Frame(Kind.REPLY, 1, "odd", object()))


def test_a_body_that_is_no_frame_is_refused() -> None:
    """An unknown kind, a short array and trailing octets are errors, not guesses."""
    for body in (msgspec.msgpack.encode([9, 1, "x", None]), msgspec.msgpack.encode([1]), b"\x94", b"\xff\xff"):
        wire = (len(body) + 1).to_bytes(4, "big") + bytes((VERSION,)) + body
        with pytest.raises(FrameError, match="not a frame"):
            FrameReader().feed(wire)
