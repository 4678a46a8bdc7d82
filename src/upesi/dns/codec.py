"""Questions to octets and octets to answers (RFC 1035 section 4, EDNS: RFC 6891); pure.

Written by hand because every message with checks asks several questions: asking one and reading its answer takes a twentieth of the time
that dnspython's codec takes (10 us, and 200). dnspython is the oracle of its property tests. Only a reply with our question counts
(RFC 5452 section 9.1); records that the answer section does not reach by the CNAMEs from our question are never looked at (DNS-03);
what is kept is bounded (DNS-02).
"""

from __future__ import annotations

import struct
from struct import Struct

import msgspec

from upesi.dns.names import BadMessage, read_name, wire_name
from upesi.dns.records import ALIAS, KINDS, SOA, Kind, read_soa_minimum
from upesi.mail.answers import Answer, Security, Status

__all__ = ["HEADER_SIZE", "Question", "Reply", "answer_from", "make_query", "make_question", "read_reply"]

# What fits an unfragmented packet on every path (DNS flag day 2020)
UDP_PAYLOAD = 1232

# Records kept of one answer; of one answer section, those looked at; aliases followed from the question (RFC 1034 section 5.2.2 asks that
# a limit be; large sites have three or four)
MAX_RECORDS = 100
MAX_SCANNED = 1000
MAX_CHAIN = 10

# Seconds. Longer lives are cut: mail routes change. A negative answer is kept for a short time only (RFC 2308 section 5 allows hours), and
# one that does not say how long as briefly as trouble (it "SHOULD NOT be cached"; a client that asks in a loop must not ask DNS in one)
MAX_TTL = 86_400
MAX_NEGATIVE_TTL = 900
NO_SOA_TTL = 5

HEADER_SIZE = 12
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED = range(6)

_RESPONSE, _OPCODE, _TRUNCATED, _RECURSE, _AUTHENTIC, _UNCHECKED, _RCODE = (
    0x8000, 0x7800, 0x0200, 0x0100, 0x0020, 0x0010, 0x000F,
)  # fmt: skip
_IN = 1
_OPT = 41

_HEADER = Struct("!HHHHHH")
_FIXED = Struct("!HHIH")
_TAIL = Struct("!HH")

# the root as owner, type, our payload size, extended rcode and version 0, no flags, no options
_EDNS = b"\0" + _FIXED.pack(_OPT, UDP_PAYLOAD, 0, 0)

# the question's own name, as nearly all servers write the owner of an answer
_SAME_NAME = b"\xc0\x0c"

# replies that may come without the question: servers that could not read it
_WITHOUT_QUESTION = (FORMERR, SERVFAIL, NOTIMP, REFUSED)


class Question(msgspec.Struct, frozen=True):
    """What is asked: `name` as `read_name` writes it, `wire` as it stands in query and reply."""

    name: str
    kind: Kind
    wire: bytes


class Reply(msgspec.Struct, frozen=True):
    """A reply to our question. `exact` says that it repeats the question's capitals too."""

    wire: bytes
    flags: int
    exact: bool

    @property
    def truncated(self) -> bool:
        """Whether it must be asked for again over TCP."""
        return bool(self.flags & _TRUNCATED)

    @property
    def rcode(self) -> int:
        """The code of its header."""
        return self.flags & _RCODE


def make_question(name: str, kind: str) -> Question | None:
    """Return the question, None if `name` is no name that DNS could hold; raise ValueError for a type that cannot be asked for."""
    known = KINDS.get(kind)
    if known is None:
        raise ValueError(f"records of type {kind!r} cannot be asked for: one of {', '.join(KINDS)}")
    wire = wire_name(name)
    if wire is None:
        return None
    return Question(read_name(wire, 0)[0], known, wire + _TAIL.pack(known.number, _IN))


def make_query(question: Question, id: int, wire: bytes, *, plain: bool = False, unchecked: bool = False) -> bytes:
    """Return a recursive query; `wire` is the question's with any capitals.

    The AD bit asks to be told what DNSSEC says, without its records (RFC 6840 section 5.7). `plain` leaves that and EDNS out,
    for old servers; `unchecked` asks for what does not validate, too (RFC 4035 section 3.2.2).
    """
    flags = _RECURSE | (_UNCHECKED if unchecked else 0)
    if plain:
        return _HEADER.pack(id, flags, 1, 0, 0, 0) + wire
    return b"".join((_HEADER.pack(id, flags | _AUTHENTIC, 1, 0, 0, 1), wire, _EDNS))


def read_reply(question: bytes, wire: bytes) -> Reply | None:
    """Return the reply to a query with `question`, None if it is none: forged, of another question, or no message."""
    if len(wire) < HEADER_SIZE:
        return None
    _, flags, questions, *_ = _HEADER.unpack_from(wire)
    if flags & (_RESPONSE | _OPCODE) != _RESPONSE:
        return None
    if questions == 0 and flags & _RCODE in _WITHOUT_QUESTION:
        return Reply(wire, flags, True)
    asked = wire[HEADER_SIZE : HEADER_SIZE + len(question)]
    exact = asked == question
    # lower() leaves lengths alone: they are below "A"; type and class must be the same octets
    if questions != 1 or not (exact or (asked.lower() == question.lower() and asked[-4:] == question[-4:])):
        return None
    return Reply(wire, flags, exact)


def answer_from(question: Question, reply: Reply, *, trusted: bool) -> Answer:
    """Return what `reply` says; SERVFAIL for what cannot be read, for codes other than NOERROR and NXDOMAIN, and for an endless chain.

    `trusted` says that the server's AD bit counts.
    """
    if reply.rcode not in (NOERROR, NXDOMAIN):
        return Answer(Status.SERVFAIL)
    security = Security.INDETERMINATE
    if trusted:
        security = Security.SECURE if reply.flags & _AUTHENTIC else Security.INSECURE
    try:
        return _read(question, reply, security)
    except (BadMessage, IndexError, struct.error):
        return Answer(Status.SERVFAIL)


def _read(question: Question, reply: Reply, security: Security) -> Answer:
    wire = reply.wire
    _, _, _, count, authorities, others = _HEADER.unpack_from(wire)
    offset = HEADER_SIZE + len(question.wire)
    aliases: dict[str, tuple[str, int]] = {}
    found: dict[str, list[tuple[int, int, int]]] = {}
    wanted = question.kind.number
    for _ in range(min(count, MAX_SCANNED)):
        if wire[offset : offset + 2] == _SAME_NAME:
            owner, offset = question.name, offset + 2
        else:
            owner, offset = read_name(wire, offset)
        type, class_, ttl, length = _FIXED.unpack_from(wire, offset)
        start = offset + _FIXED.size
        offset = start + length
        if offset > len(wire):
            raise BadMessage("a record is cut off")
        if class_ != _IN:
            continue
        if type == wanted:
            found.setdefault(owner, []).append((start, offset, _seconds(ttl)))
        elif type == ALIAS:
            aliases[owner] = (_target(wire, start, offset), _seconds(ttl))
    # behind records that were passed over, it is not known where the next section begins
    rest = (offset, authorities, others) if count <= MAX_SCANNED else (offset, 0, 0)
    return _followed(question, security, reply, (aliases, found), rest)


def _followed(
    question: Question,
    security: Security,
    reply: Reply,
    section: tuple[dict[str, tuple[str, int]], dict[str, list[tuple[int, int, int]]]],
    rest: tuple[int, int, int],
) -> Answer:
    """Follow the aliases from the question to its records."""
    aliases, found = section
    name, life, hops = question.name, MAX_TTL, 0
    while name not in found and name in aliases:
        name, ttl = aliases[name]
        life = min(life, ttl)
        hops += 1
        if hops > MAX_CHAIN:
            raise BadMessage("the chain of aliases has no end")
    alias = name if hops else ""
    records = found.get(name)
    if not records:
        status = Status.NXDOMAIN if reply.rcode == NXDOMAIN else Status.NODATA
        return Answer(status, ttl=min(life, _negative_ttl(reply.wire, name, *rest)), security=security, name=alias)
    del records[MAX_RECORDS:]
    life = min(life, *(ttl for _, _, ttl in records))
    return question.kind.answer(reply.wire, [(start, end) for start, end, _ in records], life, security, alias)


def _target(wire: bytes, start: int, end: int) -> str:
    name, stop = read_name(wire, start)
    if stop != end:
        raise BadMessage("an alias does not end with its name")
    return name


def _negative_ttl(wire: bytes, name: str, offset: int, authorities: int, others: int) -> int:
    """Return how long the absence of `name` may be remembered, as the SOA of a zone that it is in says (RFC 2308 section 5).

    Raises BadMessage if EDNS says that the header's code is half of one.
    """
    life = NO_SOA_TTL
    for number in range(min(authorities + others, MAX_SCANNED)):
        zone, offset = read_name(wire, offset)
        type, class_, ttl, length = _FIXED.unpack_from(wire, offset)
        offset += _FIXED.size + length
        if offset > len(wire):
            raise BadMessage("a record is cut off")
        if type == SOA and class_ == _IN and number < authorities and f".{name}".endswith(f".{zone}" if zone else ""):
            life = min(_seconds(ttl), read_soa_minimum(wire, offset), MAX_NEGATIVE_TTL)
        elif type == _OPT and ttl >> 24:
            raise BadMessage("an extended code is no answer")
    return life


def _seconds(ttl: int) -> int:
    # RFC 2181 section 8: a TTL with its highest bit set is 0
    return ttl if ttl < 0x8000_0000 else 0
