"""Questions to octets and octets to answers, with dnspython's codec; pure.

Only a reply with our id and our question counts (RFC 5452 section 9.1). Records that the answer section does not reach by the CNAMEs from
our question are never looked at (DNS-03), and no more than MAX_RECORDS are kept (DNS-02).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdata
import dns.rdatatype
from dns.rdtypes.ANY.MX import MX
from dns.rdtypes.ANY.PTR import PTR
from dns.rdtypes.ANY.TXT import TXT
from dns.rdtypes.IN.A import A
from dns.rdtypes.IN.AAAA import AAAA

from upesi.mail.answers import Answer, MxRecord, Status

__all__ = ["Query", "make_query", "read_reply"]

Query = dns.message.QueryMessage

# What fits an unfragmented packet on every path (DNS flag day 2020)
UDP_PAYLOAD = 1232

# Records kept of one answer, and octets of one TXT record
MAX_RECORDS = 100
MAX_TEXT = 16_384

# Seconds. Longer lives are cut: mail routes change. A negative answer is kept for a short time only (RFC 2308 section 5 allows hours)
MAX_TTL = 86_400
MAX_NEGATIVE_TTL = 900


def make_query(name: str, kind: str, id: int) -> Query | None:
    """Return a recursive query for `name`, None if it is no name that DNS could hold."""
    try:
        qname = dns.name.from_text(name)
        query = dns.message.make_query(qname, kind, use_edns=0, payload=UDP_PAYLOAD, id=id)
    except (dns.exception.DNSException, UnicodeError, ValueError):
        return None
    return query


def read_reply(query: Query, wire: bytes) -> dns.message.Message | None:
    """Return the reply to `query` in `wire`, None if it is not one: forged, late, or broken."""
    try:
        reply = dns.message.from_wire(wire, ignore_trailing=True)
        return reply if query.is_response(reply) else None
    except (dns.exception.DNSException, ValueError):
        return None


def is_truncated(reply: dns.message.Message) -> bool:
    """Whether the reply must be asked for again over TCP."""
    return bool(reply.flags & dns.flags.TC)


def answer_from(reply: dns.message.Message) -> Answer:
    """Return what `reply` says; SERVFAIL for every code other than NOERROR and NXDOMAIN, and for an endless CNAME chain."""
    rcode = reply.rcode()
    if rcode not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return Answer(Status.SERVFAIL)
    try:
        chain = cast(Query, reply).resolve_chaining()
    except (dns.exception.DNSException, AttributeError):
        return Answer(Status.SERVFAIL)
    if chain.answer is None:
        status = Status.NXDOMAIN if rcode == dns.rcode.NXDOMAIN else Status.NODATA
        return Answer(status, ttl=min(chain.minimum_ttl, MAX_NEGATIVE_TTL))
    records = list(chain.answer)[:MAX_RECORDS]
    ttl = min(chain.minimum_ttl, MAX_TTL)
    if chain.answer.rdtype == dns.rdatatype.MX:
        return Answer(Status.OK, mx=tuple(_mx(cast(MX, record)) for record in records), ttl=ttl)
    to_text = _TEXTS[chain.answer.rdtype]
    return Answer(Status.OK, texts=tuple(to_text(record) for record in records), ttl=ttl)


def _mx(record: MX) -> MxRecord:
    return MxRecord(record.preference, _name(record.exchange))


def _name(name: dns.name.Name) -> str:
    # to_text escapes whatever is not printable ASCII; the root becomes ""
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


_TEXTS: dict[dns.rdatatype.RdataType, Callable[[dns.rdata.Rdata], str]] = {
    dns.rdatatype.A: lambda record: cast(A, record).address,
    dns.rdatatype.AAAA: lambda record: cast(AAAA, record).address,
    dns.rdatatype.PTR: lambda record: _name(cast(PTR, record).target),
    dns.rdatatype.TXT: lambda record: b"".join(cast(TXT, record).strings)[:MAX_TEXT].decode("latin-1"),
}
