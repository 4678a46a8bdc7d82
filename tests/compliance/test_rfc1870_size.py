"""RFC 1870: the size of messages, declared and real. Each docstring quotes the clause."""

from __future__ import annotations

import msgspec
import pytest
from tests.scenarios.acceptor import LIMITS, Acceptor, codes, in_transaction

from upesi.config.settings import SmtpSettings
from upesi.config.units import Size

SMALL = msgspec.structs.replace(LIMITS, max_message_size=100)


@pytest.mark.parametrize("size", [SmtpSettings().max_message_size, Size("100kB"), Size(12345)])
def test_size_is_announced_in_digits(size: Size) -> None:
    """C37, section 3: "one optional parameter is allowed with this EHLO keyword value, a decimal number"; "size-param ::= [1*DIGIT]". A
    configured size prints itself as "50MB" elsewhere, never here."""
    limits = msgspec.structs.replace(LIMITS, max_message_size=size)
    assert f"SIZE {int(size)}" in limits.ehlo_keywords()


@pytest.mark.parametrize(("declared", "code"), [(b"99", 250), (b"100", 250), (b"101", 552), (b"9" * 20, 552)])
def test_declared_size_beyond_the_limit_is_refused_at_mail(declared: bytes, code: int) -> None:
    """C37, section 6.1: "If the indicated size is larger than the server's fixed maximum message size, the server responds with code
    "552 message size exceeds fixed maximum message size"."."""
    acceptor = Acceptor(SMALL)
    assert codes(acceptor.feed(b"EHLO c\r\nMAIL FROM:<a@b> SIZE=" + declared + b"\r\n")) == [250, code]


@pytest.mark.parametrize(("octets", "code"), [(98, 250), (99, 552)])
def test_real_size_counts_whatever_was_declared(octets: int, code: int) -> None:
    """C38, section 6.3: a message that proves larger than the limit is refused with 552 after its end, whatever was declared; section 5:
    the CR LF of each line counts, the dots that transparency adds do not."""
    acceptor = in_transaction(SMALL, mail=b"MAIL FROM:<a@b> SIZE=1")
    acceptor.feed(b"DATA\r\n")
    content = b".." + b"x" * (octets - 1) + b"\r\n"
    assert codes(acceptor.feed(content + b".\r\n")) == [code]
    assert codes(acceptor.feed(b"NOOP\r\n")) == [250]
