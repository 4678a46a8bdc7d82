"""PROXY headers of both versions: what they say, and what is refused at the first octet that shows it."""

import pytest
from proxykit import SIGNATURE, tls, tlv, v2

from upesi.protocol.proxy.header import Endpoint, ProxyError, ProxyHeader, TlsClaim
from upesi.protocol.proxy.reader import ProxyReader
from upesi.protocol.proxy.v2 import MAX_V2

HERE, THERE = Endpoint("192.0.2.1", 40000), Endpoint("198.51.100.2", 25)
HERE6, THERE6 = Endpoint("2001:db8::1", 0), Endpoint("2001:db8::2", 65535)
TCP4 = b"PROXY TCP4 192.0.2.1 198.51.100.2 40000 25\r\n"
LONGEST = b"PROXY TCP6 " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n"


def read(data: bytes) -> tuple[ProxyHeader | None, bytes]:
    reader = ProxyReader()
    return reader.receive(data), reader.rest


ACCEPTED = [
    (TCP4, ProxyHeader(1, source=HERE, destination=THERE)),
    (b"PROXY TCP6 2001:db8::1 2001:DB8::2 0 65535\r\n", ProxyHeader(1, source=HERE6, destination=THERE6)),
    (b"PROXY TCP6 ::ffff:192.0.2.1 ::ffff:198.51.100.2 40000 25\r\n", ProxyHeader(1, source=HERE, destination=THERE)),
    (b"PROXY UNKNOWN\r\n", ProxyHeader(1)),
    (b"PROXY UNKNOWN ffff::1 whatever it says 1 2\r\n", ProxyHeader(1)),
    (v2(), ProxyHeader(2, source=HERE, destination=THERE)),
    (v2("2001:db8::1", "2001:db8::2", (0, 65535)), ProxyHeader(2, source=HERE6, destination=THERE6)),
    (v2("::ffff:192.0.2.1", "::ffff:198.51.100.2"), ProxyHeader(2, source=HERE, destination=THERE)),
    (v2(command=0x20), ProxyHeader(2, local=True)),
    (v2(command=0x20, family=0, addresses=b""), ProxyHeader(2, local=True)),
    (v2(command=0x20, family=0xEE, addresses=b"\xff" * 50), ProxyHeader(2, local=True)),
    (v2(family=0, addresses=b""), ProxyHeader(2)),
    (v2(family=0x31, addresses=b"/run/x".ljust(216, b"\0")), ProxyHeader(2)),
    (v2("192.0.2.1", "198.51.100.2", (40000, 25), tlv(0x04, b""), tlv(0xEE, b"junk")), ProxyHeader(2, source=HERE, destination=THERE)),
    (v2("192.0.2.1", "198.51.100.2", (40000, 25), tlv(2, b"mx")), ProxyHeader(2, source=HERE, destination=THERE, authority="mx")),
]  # fmt: skip


@pytest.mark.parametrize(("octets", "header"), ACCEPTED)
def test_headers_are_read_and_what_follows_is_left(octets: bytes, header: ProxyHeader) -> None:
    """PRX-02: both versions, LOCAL, UNKNOWN and UNIX, unknown TLVs; IPv4-mapped addresses are unmapped."""
    assert read(octets) == (header, b"")
    assert read(octets + b"EHLO x\r\n") == (header, b"EHLO x\r\n")


@pytest.mark.parametrize("octets", [octets for octets, _ in ACCEPTED])
def test_a_header_is_incomplete_up_to_its_last_octet(octets: bytes) -> None:
    """PRX-02: segments may be cut anywhere: nothing is believed before the end is there."""
    reader = ProxyReader()
    assert [reader.receive(octets[i : i + 1]) for i in range(len(octets) - 1)] == [None] * (len(octets) - 1)
    assert reader.receive(octets[-1:]) is not None


REFUSED = {
    "SMTP": b"EHLO x\r\n",
    "TLS": b"\x16\x03\x01",
    "lower case": b"proxy ",
    "empty line": b"\r\nEHLO",
    "another signature": SIGNATURE[:-1] + b"X",
    "two blanks": TCP4.replace(b" 192", b"  192"),
    "tab": TCP4.replace(b" 192", b"\t192"),
    "TCP5": TCP4.replace(b"TCP4", b"TCP5"),
    "UDP4": TCP4.replace(b"TCP4", b"UDP4"),
    "bare LF": TCP4.replace(b"\r\n", b"\n").ljust(107, b"x"),
    "CR inside": b"PROXY UNKNOWN a\rb\r\n",
    "UNKNOWNX": b"PROXY UNKNOWNX\r\n",
    "IPv6 in TCP4": b"PROXY TCP4 2001:db8::1 2001:db8::2 1 2\r\n",
    "IPv4 in TCP6": TCP4.replace(b"TCP4", b"TCP6"),
    "a name": TCP4.replace(b"192.0.2.1", b"localhost"),
    "octal": TCP4.replace(b"192.0.2.1", b"192.0.02.1"),
    "short": TCP4.replace(b"192.0.2.1", b"192.2.1"),
    "256": TCP4.replace(b"192.0.2.1", b"256.0.2.1"),
    "scope": b"PROXY TCP6 fe80::1%eth0 fe80::2 1 2\r\n",
    "leading zero in a port": TCP4.replace(b"40000", b"04000"),
    "port 65536": TCP4.replace(b"40000", b"65536"),
    "negative port": TCP4.replace(b"40000", b"-4000"),
    "signed port": TCP4.replace(b"40000", b"+4000"),
    "no ports": b"PROXY TCP4 192.0.2.1 198.51.100.2\r\n",
    "one word more": TCP4.replace(b"\r\n", b" x\r\n"),
    "blank at the end": TCP4.replace(b"\r\n", b" \r\n"),
    "NUL": TCP4.replace(b"\r\n", b"\0\r\n"),
    "108 octets": b"PROXY UNKNOWN ".ljust(106, b"x") + b"\r\n",
    "never ends": b"PROXY UNKNOWN ".ljust(107, b"x"),
    "version 1 in version 2": v2(command=0x11),
    "version 3": v2(command=0x31),
    "command 2": v2(command=0x22),
    "datagrams": v2(family=0x12),
    "family 4": v2(family=0x41),
    "protocol 3": v2(family=0x13),
    "shorter than its addresses": v2(addresses=b"x" * 11),
    "UNIX shorter than its addresses": v2(family=0x31, addresses=b"x" * 215),
    "length 65,535": v2(length=65535),
    "length 521": v2(length=521),
    "TLV beyond the end": v2("192.0.2.1", "198.51.100.2", (1, 2), b"\xee\x00\x09junk"),
    "TLV without a length": v2("192.0.2.1", "198.51.100.2", (1, 2), b"\xee\x00"),
    "TLS TLV too short": v2("192.0.2.1", "198.51.100.2", (1, 2), tlv(0x20, b"\x01\0\0\0")),
    "TLV inside beyond the end": v2("192.0.2.1", "198.51.100.2", (1, 2), tlv(0x20, b"\x01\0\0\0\0\x21\x00\x09x")),
    "wrong checksum": v2("192.0.2.1", "198.51.100.2", (1, 2), tlv(0x03, b"\0\0\0\0")),
    "checksum of three octets": v2("192.0.2.1", "198.51.100.2", (1, 2), tlv(0x03, b"\0\0\0")),
}


@pytest.mark.parametrize("octets", REFUSED.values(), ids=REFUSED)
def test_what_is_no_header_is_refused(octets: bytes) -> None:
    """PRX-02: a header that is not to the letter is none: whose connection this is must not be guessed."""
    with pytest.raises(ProxyError) as caught:
        ProxyReader().receive(octets)
    assert caught.value.reply is None


def test_the_longest_headers_fit() -> None:
    """PRX-02: the specification's bounds: 107 octets of version 1, 536 of version 2."""
    assert len(b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2) + b" 65535 65535\r\n") == 107
    header, _ = read(LONGEST)
    assert header is not None
    assert header.source == Endpoint("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", 65535)
    assert read(b"PROXY UNKNOWN ".ljust(105, b"x") + b"\r\n")[0] == ProxyHeader(1)
    full = v2("192.0.2.1", "198.51.100.2", (40000, 25), tlv(0xEE, bytes(536 - 16 - 12 - 3)))
    assert len(full) == MAX_V2 == 536
    assert read(full + b"x") == (ProxyHeader(2, source=HERE, destination=THERE), b"x")


def test_a_length_beyond_the_bound_is_refused_before_it_is_waited_for() -> None:
    """PRX-02: a length of 65,535 is known from 16 octets, and nothing is collected for it."""
    with pytest.raises(ProxyError):
        ProxyReader().receive(v2(length=65535)[:16])


def test_tls_of_the_proxy_is_information() -> None:
    """The proxy's word about TLS is kept as text; a certificate counts only where it was shown and believed."""
    claim = tls(client=0x07, version="TLSv1.3", cipher="TLS_AES_256_GCM_SHA384", cn="client.example")
    header, _ = read(v2("192.0.2.1", "198.51.100.2", (40000, 25), claim))
    assert header is not None
    assert header.tls == TlsClaim("TLSv1.3", "TLS_AES_256_GCM_SHA384", "client.example", True)
    for claim, verified in ((tls(client=1), False), (tls(client=7, verify=1), False), (tls(client=5), True)):
        header, _ = read(v2("192.0.2.1", "198.51.100.2", (40000, 25), claim))
        assert header is not None
        assert header.tls is not None
        assert header.tls.verified is verified
    header, _ = read(v2("192.0.2.1", "198.51.100.2", (40000, 25), tls(client=0, version="TLSv1.3")))
    assert header is not None
    assert header.tls is None


def test_texts_of_a_header_are_cleaned() -> None:
    """LOG-01: the name in a client's certificate is the client's choice; it must not shape a log line."""
    header, _ = read(
        v2("192.0.2.1", "198.51.100.2", (1, 2), tls(cn="x\r\n2026 forged \x1b[0m\u202e"), tlv(2, b"\xff\n"))
    )
    assert header is not None
    assert header.tls is not None
    assert header.tls.common_name == "x??2026 forged ?[0m?"
    assert header.authority == "\ufffd?"


def test_a_right_checksum_is_taken() -> None:
    """CRC32c over the header with the checksum's own octets as zero: "123456789" has 0xE3069283, this one was computed apart."""
    from upesi.protocol.proxy.v2 import _crc32c

    assert _crc32c(b"123456789") == 0xE3069283
    blank = v2("192.0.2.1", "198.51.100.2", (40000, 25), tlv(0x03, bytes(4)))
    summed = v2("192.0.2.1", "198.51.100.2", (40000, 25), tlv(0x03, _crc32c(blank).to_bytes(4, "big")))
    assert read(summed) == (ProxyHeader(2, source=HERE, destination=THERE), b"")
