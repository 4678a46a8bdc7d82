"""Properties of the PROXY reader: any octets are a header or an error, cuts do not matter, nothing is held beyond the bound."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import example, given
from hypothesis import strategies as st
from tests.unit.protocol.proxykit import SIGNATURE, tls, tlv, v2

from upesi.protocol.proxy.header import ProxyError, ProxyHeader
from upesi.protocol.proxy.reader import ProxyReader
from upesi.protocol.proxy.v2 import MAX_V2

PIECES = [
    b"PROXY ", b"TCP4 ", b"TCP6 ", b"UNKNOWN", b"192.0.2.1 ", b"2001:db8::1 ", b"::ffff:192.0.2.1 ", b"25 ", b"65536", b" ", b"0",
    b"\r\n", b"\r", b"\n", b"\0", b"%eth0", SIGNATURE, SIGNATURE[:7], b"\x21\x11\x00\x0c", b"\x21\x21\x00\x24", b"\x20\x00\x00\x00",
    b"\x21\x31\x00\xd8", b"\xff\xff", bytes(12), bytes(36), tlv(3, bytes(4)), tls(client=7, cn="x"), v2(), b"EHLO x\r\n", b"x" * 200,
]  # fmt: skip
octets = st.one_of(st.lists(st.sampled_from(PIECES), max_size=12).map(b"".join), st.binary(max_size=700))
bodies = st.builds(
    lambda command, family, body: v2(command=command, family=family, addresses=body),
    st.sampled_from([0x20, 0x21, 0x22]), st.sampled_from([0, 0x11, 0x21, 0x31, 0x12]), st.binary(max_size=600),
)  # fmt: skip


def outcome(segments: list[bytes]) -> tuple[ProxyHeader | str | None, bytes]:
    """Return the header with what is behind it, or the error."""
    reader = ProxyReader()
    for number, segment in enumerate(segments):
        try:
            header = reader.receive(segment)
        except ProxyError as error:
            return str(error), b""
        if header is not None:
            return header, reader.rest + b"".join(segments[number + 1 :])
        assert len(reader.rest) <= MAX_V2
    return None, reader.rest


@given(octets | bodies, st.lists(st.integers(0, 700), max_size=6))
@example(v2() + b"EHLO", [16, 28])
@example(b"PROXY TCP4 192.0.2.1 198.51.100.2 1 2\r\n\r\n", [6, 38, 39])
def test_cuts_do_not_matter(data: bytes, cuts: list[int]) -> None:
    """PRX-02: however the network cuts a header, it says the same or fails the same way, or fails earlier."""
    places = [0, *sorted(cuts), len(data)]
    segments = [data[start:end] for start, end in pairwise(places)]
    assert outcome([segment for segment in segments if segment]) == outcome([data] if data else [])


@given(octets | bodies)
def test_any_octets_are_a_header_or_an_error(data: bytes) -> None:
    """PRX-02: nothing but ProxyError is raised; what is read is one line of printable text, and no longer than the bound."""
    found, rest = outcome([data])
    if isinstance(found, ProxyHeader):
        assert len(data) - len(rest) <= MAX_V2
        said = [found.authority]
        if found.tls is not None:
            said += [found.tls.version, found.tls.cipher, found.tls.common_name]
        assert all(text.isprintable() or text == "" for text in said)
    elif found is None:
        assert len(data) < MAX_V2


@given(st.ip_addresses(), st.integers(0, 65535), st.integers(0, 65535), st.booleans())
def test_both_versions_say_the_same(address: object, source: int, destination: int, binary: bool) -> None:
    """PRX-02: an address goes in and comes out, IPv4-mapped ones as IPv4."""
    text = str(address)
    ports = (source, destination)
    family = "TCP6" if ":" in text else "TCP4"
    line = f"PROXY {family} {text} {text} {source} {destination}\r\n".encode()
    header, rest = outcome([v2(text, text, ports) if binary else line])
    assert isinstance(header, ProxyHeader)
    assert header.source is not None
    assert header.destination is not None
    mapped = getattr(address, "ipv4_mapped", None)
    assert header.source.address == header.destination.address == str(mapped or address)
    assert (header.source.port, header.destination.port, rest) == (source, destination, b"")
