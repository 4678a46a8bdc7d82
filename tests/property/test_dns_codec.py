"""The codec of DNS against dnspython, and against octets that mean harm."""

from __future__ import annotations

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.dns.codec import MAX_NEGATIVE_TTL, MAX_TTL, NO_SOA_TTL, answer_from, make_query, make_question, read_reply
from upesi.dns.names import read_name, wire_name
from upesi.dns.records import KINDS
from upesi.mail.answers import Answer, MxRecord, Security, SrvRecord, Status, TlsaRecord

labels = st.binary(min_size=1, max_size=20) | st.sampled_from(
    [b"example", b"MX", b"a.b", b"_25", b"\0", b"x\r\ny", b"\\"]
)
names = st.lists(labels, min_size=1, max_size=8).map(lambda found: dns.name.Name([*found, b""]))
hosts = st.sampled_from(["a.test.", "b.a.test.", "mail.Example.", "x.mail.example.", "deep.er.and.deeper.a.test."])
short, octet = st.integers(0, 65535), st.integers(0, 255)
texts = st.lists(st.text('abc =;"\\é\x00', max_size=30), min_size=1, max_size=4)


def quoted(strings):
    return " ".join('"' + "".join(f"\\{ord(c):03}" for c in string) + '"' for string in strings)


RDATA = {
    "A": st.ip_addresses(v=4).map(str),
    "AAAA": st.ip_addresses(v=6).map(str),
    "NS": hosts,
    "CNAME": hosts,
    "PTR": hosts,
    "MX": st.tuples(short, hosts).map(lambda it: f"{it[0]} {it[1]}"),
    "TXT": texts.map(quoted),
    "SRV": st.tuples(short, short, short, hosts).map(lambda it: " ".join(map(str, it))),
    # matching types 1 and 2 say how many octets there must be: dnspython makes no others
    "TLSA": st.tuples(octet, octet, st.integers(3, 255), st.binary(min_size=1, max_size=40)).map(
        lambda it: f"{it[0]} {it[1]} {it[2]} {it[3].hex()}"
    ),
    "SOA": st.tuples(hosts, hosts, st.integers(0, 2**31)).map(lambda it: f"{it[0]} {it[1]} 1 2 3 4 {it[2]}"),
}


def plain(name):
    return name.to_text(omit_final_dot=True).lower() if name != dns.name.root else ""


def value(kind, record):
    """What an Answer holds of dnspython's record."""
    match kind:
        case "A" | "AAAA":
            return record.address
        case "NS" | "CNAME" | "PTR":
            return plain(record.target)
        case "MX":
            return MxRecord(record.preference, plain(record.exchange))
        case "TXT":
            return b"".join(record.strings).decode("latin-1")
        case "SRV":
            return SrvRecord(record.priority, record.weight, record.port, plain(record.target))
        case "TLSA":
            return TlsaRecord(record.usage, record.selector, record.mtype, record.cert)
    host, mailbox = plain(record.mname), plain(record.rname)
    numbers = (record.serial, record.refresh, record.retry, record.expire, record.minimum)
    return " ".join((host, mailbox, *map(str, numbers)))


def by_dnspython(wire, kind):
    """The oracle: the whole answer, found by other code."""
    message = dns.message.from_wire(wire)
    security = Security.SECURE if message.flags & dns.flags.AD else Security.INSECURE
    chain = message.resolve_chaining()
    name = plain(chain.canonical_name)
    name = "" if name == plain(message.question[0].name) else name
    if chain.answer is None:
        status = Status.NXDOMAIN if message.rcode() == dns.rcode.NXDOMAIN else Status.NODATA
        # only a zone that the name is in says how long it is absent
        soa = any(chain.canonical_name.is_subdomain(rrset.name) for rrset in message.authority)
        longest = MAX_NEGATIVE_TTL if soa else NO_SOA_TTL
        return Answer(status, ttl=min(chain.minimum_ttl, longest), security=security, name=name)
    values = tuple(value(kind, record) for record in chain.answer)
    place = {"MX": "mx", "SRV": "srv", "TLSA": "tlsa"}.get(kind, "texts")
    return Answer(Status.OK, ttl=min(chain.minimum_ttl, MAX_TTL), security=security, name=name, **{place: values})


@st.composite
def replies(draw):
    """A question and the whole reply of a well-behaved server, as (name, kind, wire)."""
    kind = draw(st.sampled_from(list(KINDS)))
    owner = dns.name.from_text(draw(hosts))
    message = dns.message.make_response(
        dns.message.make_query(owner, kind, use_edns=0, id=4711), recursion_available=True
    )
    if draw(st.booleans()):
        message.flags |= dns.flags.AD
    name = owner
    for target in draw(
        st.lists(st.sampled_from(["one.test.", "two.test.", "three.two.test."]), max_size=3, unique=True)
    ):
        if kind != "CNAME":
            message.answer.append(dns.rrset.from_text(name, draw(st.integers(0, 2**31 - 1)), "IN", "CNAME", target))
            name = dns.name.from_text(target)
    found = draw(st.lists(RDATA[kind], max_size=5, unique=True))
    if found:
        found = found[:1] if kind in ("CNAME", "SOA") else found
        message.answer.append(dns.rrset.from_text(name, draw(st.integers(0, 2**31 - 1)), "IN", kind, *found))
    else:
        soa = f"ns.test. who.test. 1 2 3 4 {draw(st.integers(0, 10_000))}"
        message.authority.append(
            dns.rrset.from_text(draw(st.sampled_from([".", "test."])), draw(st.integers(0, 10_000)), "IN", "SOA", soa)
        )
        if draw(st.booleans()):
            message.set_rcode(dns.rcode.NXDOMAIN)
    if draw(st.booleans()):
        message.additional.append(dns.rrset.from_text("evil.test.", 60, "IN", "A", "192.0.2.66"))
    return owner.to_text(), kind, message.to_wire(want_shuffle=False)


@given(names)
def test_names_are_written_and_read_as_dnspython_does(name):
    """RFC 1035 sections 3.1, 5.1: any octets, in escapes where no host name has them; what is read can be asked for."""
    text, end = read_name(name.to_wire() + b"rest", 0)
    assert (text, end) == (name.to_text(omit_final_dot=True).lower(), len(name.to_wire()))
    assert read_name(wire_name(text), 0)[0] == text
    assert dns.name.from_wire(wire_name(text), 0)[0] == name


@given(
    hosts | st.sampled_from(["bücher.example", "a" * 63 + ".test", "xn--bcher-kva.example"]),
    st.sampled_from(list(KINDS)),
    short,
)
def test_queries_are_what_dnspython_reads(name, kind, number):
    """RFC 1035 section 4.1, RFC 6891 section 6, RFC 6840 section 5.7: recursion desired, AD, a payload size that is not fragmented."""
    question = make_question(name, kind)
    query = dns.message.from_wire(make_query(question, number, question.wire, unchecked=True))
    assert query.id == number
    assert query.flags == dns.flags.RD | dns.flags.AD | dns.flags.CD
    assert (query.edns, query.payload, query.ednsflags) == (0, 1232, 0)
    assert query.question[0].name == dns.name.from_text(name)
    assert query.question[0].rdtype == dns.rdatatype.from_text(kind)
    plainly = dns.message.from_wire(make_query(question, number, question.wire, plain=True))
    assert (plainly.edns, plainly.flags) == (-1, dns.flags.RD)


@given(replies())
def test_replies_say_what_dnspython_says(case):
    """Every type, aliases, absence with its SOA, compression: the same answer by two readers."""
    name, kind, wire = case
    question = make_question(name, kind)
    reply = read_reply(question.wire, wire)
    assert reply is not None
    assert answer_from(question, reply, trusted=True) == by_dnspython(wire, kind)


@given(replies(), st.data())
def test_damaged_replies_are_read_or_are_trouble(case, data):
    """DNS-02: any octet changed, any cut: an answer or trouble, never an exception; and what is read is bounded."""
    name, kind, wire = case
    question = make_question(name, kind)
    damaged = bytearray(wire)
    for _ in range(data.draw(st.integers(0, 4))):
        damaged[data.draw(st.integers(0, len(wire) - 1))] = data.draw(octet)
    reply = read_reply(question.wire, bytes(damaged[: data.draw(st.integers(0, len(wire)))]))
    if reply is not None:
        answer = answer_from(question, reply, trusted=False)
        assert answer.status is Status.OK or not (answer.mx or answer.texts or answer.srv or answer.tlsa)
        assert not answer.secure
        assert all("\n" not in record.exchange for record in answer.mx)


@given(st.binary(max_size=600), st.sampled_from(list(KINDS)))
def test_any_octets_behind_our_question_are_read_or_are_trouble(rest, kind):
    """DNS-02: whoever guesses id, port and question still has only octets to send."""
    question = make_question("a.test", kind)
    reply = read_reply(question.wire, b"\x12\x34\x81\x80\0\1" + rest[:6].ljust(6, b"\0") + question.wire + rest[6:])
    assert reply is not None
    assert isinstance(answer_from(question, reply, trusted=True), Answer)


@pytest.mark.parametrize("name", ["", "..", "a..b", ".a", "x" * 64, ".".join(["x" * 60] * 5), "\ud800.test"])
def test_what_no_message_can_hold_is_no_name(name):
    """RFC 1035 section 2.3.4: labels of 1 to 63 octets, names of 255."""
    assert wire_name(name) is None
