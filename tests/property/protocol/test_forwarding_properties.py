"""Properties of XCLIENT's and XFORWARD's arguments: any text is attributes or a refusal, and no value could do harm further on."""

from __future__ import annotations

import re
from ipaddress import ip_address

from hypothesis import given
from hypothesis import strategies as st

from upesi.mail.errors import RemoteProtocolError
from upesi.protocol.smtp.forwarding import XCLIENT_ATTRIBUTES, XFORWARD_ATTRIBUTES, read_attributes

PIECES = [
    "NAME=", "ADDR=", "PORT=", "PROTO=", "HELO=", "LOGIN=", "IDENT=", "SOURCE=", "DESTADDR=", " ", "IPV6:", "192.0.2.1", "2001:db8::1",
    "[UNAVAILABLE]", "[TEMPUNAVAIL]", "+0D+0A", "+", "+4", "a.example", "ESMTP", "LOCAL", "25", "%eth0", "x" * 250, "=", "é", "\x7f",
]  # fmt: skip
arguments = st.one_of(st.lists(st.sampled_from(PIECES), max_size=10).map("".join), st.text(max_size=80))


@given(arguments, st.booleans())
def test_any_text_is_attributes_or_a_refusal(argument: str, client: bool) -> None:
    """PRX-03: what is taken is short, printable ASCII without blanks, and an address is one; everything else is a reply."""
    known = XCLIENT_ATTRIBUTES if client else XFORWARD_ATTRIBUTES
    try:
        found = read_attributes(argument, known)
    except RemoteProtocolError as refusal:
        found, reply = {}, refusal.reply
        code = 0 if reply is None else reply.code
    else:
        code = 501
    assert code == 501
    assert found.keys() <= known.keys()
    for name, value in found.items():
        assert value is None or re.fullmatch(r"[!-~]{1,255}", value)
        if name in ("ADDR", "DESTADDR") and value is not None:
            assert str(ip_address(value)) == value
