"""RFC 7208 clause by clause, and what records have been made to do to those who read them (SPF-01, SPF-02)."""

from __future__ import annotations

import time

import pytest

from unit.mailauth.answerkit import Table, Zone
from upesi.mail.address import Address
from upesi.mail.answers import Status
from upesi.mailauth.asking import answered_from
from upesi.mailauth.received_spf import received_spf
from upesi.mailauth.spf import SpfIdentity, SpfOutcome, SpfResult, check_host, helo_identity, mail_identity
from upesi.mailauth.spf_macros import MAX_EXPLANATION, macro_string, name_from, text_from

IP = "192.0.2.1"


def asked(
    zone: Zone, sender: str = "a@example.com", ip: str = IP, helo: str = "mail.example.net"
) -> tuple[SpfOutcome, Table]:
    """Check one sender; return the outcome and what was asked."""
    local, _, domain = sender.rpartition("@")
    table = Table(zone)
    identity = SpfIdentity(ip, helo, local, domain, receiver="mx.example.org", now=1_700_000_000)
    return answered_from(check_host(identity), table), table


def outcome(record: str, more: Zone | None = None, sender: str = "a@example.com", ip: str = IP) -> SpfOutcome:
    """Check a sender at the domain with this record."""
    return asked({("example.com", "TXT"): [record], **(more or {})}, sender, ip)[0]


def test_the_null_path_is_postmaster_at_the_helo_name() -> None:
    """C62, section 2.4: HELO and MAIL FROM are checked; "<>" is postmaster@HELO, and HELO is checked as that too."""
    helo = helo_identity(IP, "mail.example.net")
    null = mail_identity(IP, "mail.example.net", None)
    named = mail_identity(IP, "mail.example.net", Address("a", "example.com"))
    assert (helo.kind, helo.sender) == ("helo", "postmaster@mail.example.net")
    assert (null.kind, null.sender) == ("mailfrom", "postmaster@mail.example.net")
    assert (named.kind, named.sender, named.domain) == ("mailfrom", "a@example.com", "example.com")


def includes(count: int) -> Zone:
    """Return a chain of `count` records that include each other; the last one says yes."""
    zone: dict[tuple[str, str], list[str]] = {("example.com", "TXT"): ["v=spf1 include:n1.example -all"]}
    for n in range(1, count + 1):
        zone[f"n{n}.example", "TXT"] = [f"v=spf1 include:n{n + 1}.example -all" if n < count else "v=spf1 +all"]
    return zone


@pytest.mark.parametrize(("count", "result"), [(10, SpfResult.PASS), (11, SpfResult.PERMERROR)])
def test_ten_terms_may_ask_dns(count: int, result: SpfResult) -> None:
    """C63, SPF-01, section 4.6.4: ten terms that ask DNS are allowed, eleven are a permerror."""
    assert asked(includes(count))[0].result is result
    plain = " ".join(f"a:h{n}.example" for n in range(count))
    hosts: dict[tuple[str, str], list[str]] = {(f"h{n}.example", "A"): ["203.0.113.9"] for n in range(count)}
    assert outcome(f"v=spf1 {plain} +all", hosts).result is result


@pytest.mark.parametrize("record", ["include:example.com", "redirect=example.com", "include:b.example"])
def test_loops_end_at_the_limit(record: str) -> None:
    """SPF-01, section 4.6.4: records that lead to each other end as a permerror, with no more than eleven questions."""
    found, table = asked({
        ("example.com", "TXT"): [f"v=spf1 {record}"], ("b.example", "TXT"): ["v=spf1 redirect=example.com"],
    })  # fmt: skip
    assert found.result is SpfResult.PERMERROR
    assert len(table.asked) == 11


@pytest.mark.parametrize(("count", "result"), [(2, SpfResult.PASS), (3, SpfResult.PERMERROR)])
def test_two_terms_may_find_nothing(count: int, result: SpfResult) -> None:
    """C63, SPF-01, section 4.6.4: two void lookups are allowed, three are a permerror; whether the name exists does not matter."""
    for more in ({}, {("h2.example", "TXT"): ["it exists"]}):
        terms = " ".join(f"{kind}:h{n}.example" for n, kind in zip(range(count), ("a", "mx", "exists"), strict=False))
        assert outcome(f"v=spf1 {terms} +all", more).result is result


@pytest.mark.parametrize(("count", "result"), [(10, SpfResult.NEUTRAL), (11, SpfResult.PERMERROR)])
def test_ten_hosts_may_stand_behind_mx(count: int, result: SpfResult) -> None:
    """C63, SPF-01, section 4.6.4: ten MX hosts are looked at; more are a permerror, and the eleventh is not asked for."""
    zone: dict[tuple[str, str], list[str]] = {
        ("example.com", "TXT"): ["v=spf1 mx ?all"],
        ("example.com", "MX"): [f"{n} m{n}.example" for n in range(count)],
        **{(f"m{n}.example", "A"): ["203.0.113.9"] for n in range(count)},
    }
    found, table = asked(zone)
    assert found.result is result
    assert len(table.asked) == 12


def test_ten_names_of_the_client_are_looked_at() -> None:
    """C63, SPF-01, section 4.6.4: of more than ten PTR names the rest is ignored: their owner is the client, not the domain."""
    names = [f"p{n}.example.com" for n in range(11)]
    zone: dict[tuple[str, str], list[str]] = {
        ("example.com", "TXT"): ["v=spf1 ptr -all"],
        ("1.2.0.192.in-addr.arpa", "PTR"): names,
        (names[10], "A"): [IP],
    }
    found, table = asked(zone)
    assert found.result is SpfResult.FAIL
    assert len(table.asked) == 12
    zone[names[9], "A"] = [IP]
    assert asked(zone)[0].result is SpfResult.PASS


def test_no_record_makes_us_ask_much() -> None:
    """SPF-01, section 11.1: whatever the record, questions are bounded: ten terms, ten hosts behind each, names once, one explanation."""
    terms = " ".join(f"mx:d{n}.example" for n in range(9))
    zone: dict[tuple[str, str], list[str]] = {
        ("example.com", "TXT"): [f"v=spf1 {terms} ptr:%{{p}}.example -all exp=%{{p}}.why.example"],
        ("1.2.0.192.in-addr.arpa", "PTR"): [f"p{n}.example" for n in range(50)],
        ("why.example", "TXT"): ["%{p}"],
    }
    for d in range(9):
        zone[f"d{d}.example", "MX"] = [f"{n} m{n}.example" for n in range(10)]
    for n in range(10):
        zone[f"m{n}.example", "A"] = ["203.0.113.9"]
    _, table = asked(zone)
    assert len(table.asked) <= 1 + 9 * 11 + 11 + 1


@pytest.mark.parametrize(
    "domain",
    [
        "localhost",
        "a..example",
        f"{'a' * 64}.example",
        "[192.0.2.1]",
        "",
        ".example.com",
        "x." * 127 + "example",
        "b\u00fccher.example",
    ],
)
def test_what_is_no_domain_has_no_record(domain: str) -> None:
    """C64, section 4.3: a malformed domain, a literal and a name of one label are "none", and nothing is asked."""
    found, table = asked({}, f"a@{domain}")
    assert (found.result, table.asked) == (SpfResult.NONE, [])


def test_two_records_are_an_error() -> None:
    """C64, SPF-01, section 4.5: several records are a permerror; other TXT records and other versions are none of ours."""
    two = {("example.com", "TXT"): ["v=spf1 +all", "V=SPF1 -all"]}
    assert asked(two)[0].result is SpfResult.PERMERROR
    one = {("example.com", "TXT"): ["v=spf1 +all", "v=spf10 -all", "v=spf2.0/pra -all", "verify=\u00ff"]}
    assert asked(one)[0].result is SpfResult.PASS


@pytest.mark.parametrize("trouble", [Status.SERVFAIL, Status.TIMEOUT])
def test_trouble_with_dns_is_a_temperror(trouble: Status) -> None:
    """C64, sections 4.4 and 5: where DNS does not say, the check ends as a temperror, at the record and at each term."""
    assert asked({("example.com", "TXT"): trouble})[0].result is SpfResult.TEMPERROR
    for term, kind in (
        ("a:x.example", "A"),
        ("mx:x.example", "MX"),
        ("exists:x.example", "A"),
        ("include:x.example", "TXT"),
    ):
        found = outcome(f"v=spf1 {term} -all", {("x.example", kind): trouble})
        assert (found.result, found.mechanism) == (SpfResult.TEMPERROR, term)
    host = {("x.example", "MX"): ["1 y.example"], ("y.example", "A"): trouble}
    assert outcome("v=spf1 mx:x.example -all", host).result is SpfResult.TEMPERROR
    # of the client's own names, an error is no name (section 5.5)
    assert outcome("v=spf1 ptr -all", {("1.2.0.192.in-addr.arpa", "PTR"): trouble}).result is SpfResult.FAIL


EXAMPLES = [
    ("%{s}", "strong-bad@email.example.com"),
    ("%{o}", "email.example.com"),
    ("%{d}", "email.example.com"),
    ("%{d4}", "email.example.com"),
    ("%{d3}", "email.example.com"),
    ("%{d2}", "example.com"),
    ("%{d1}", "com"),
    ("%{dr}", "com.example.email"),
    ("%{d2r}", "example.email"),
    ("%{l}", "strong-bad"),
    ("%{l-}", "strong.bad"),
    ("%{lr}", "strong-bad"),
    ("%{lr-}", "bad.strong"),
    ("%{l1r-}", "strong"),
]


def expanded(text: str, **values: str) -> str | None:
    """Expand a domain-spec with these values."""
    return name_from(macro_string(text), values.__getitem__)


@pytest.mark.parametrize(("macro", "expected"), EXAMPLES)
def test_the_examples_of_macros(macro: str, expected: str) -> None:
    """C65, section 7.4: transformers, delimiters and their order, as the RFC's own examples have them."""
    values = {
        "s": "strong-bad@email.example.com",
        "o": "email.example.com",
        "d": "email.example.com",
        "l": "strong-bad",
    }
    assert text_from(macro_string(macro), values.__getitem__) == expected


def test_the_longer_examples_of_macros() -> None:
    """C65, section 7.4: whole domain-specs, for IPv4 and IPv6."""
    values = {"i": "192.0.2.3", "v": "in-addr", "d": "email.example.com", "l": "strong-bad"}
    assert expanded("%{ir}.%{v}._spf.%{d2}", **values) == "3.2.0.192.in-addr._spf.example.com"
    assert expanded("%{lr-}.lp._spf.%{d2}", **values) == "bad.strong.lp._spf.example.com"
    assert expanded("%{lr-}.lp.%{ir}.%{v}._spf.%{d2}", **values) == "bad.strong.lp.3.2.0.192.in-addr._spf.example.com"
    assert expanded("%{d2}.trusted-domains.example.net", **values) == "example.com.trusted-domains.example.net"
    _, table = asked(
        {("email.example.com", "TXT"): ["v=spf1 exists:%{ir}.%{v}._spf.%{d2} -all"]},
        "a@email.example.com",
        "2001:db8::cb01",
    )
    name, kind = table.asked[1]
    assert kind == "A"
    assert name.lower() == f"1.0.b.c.{'0.' * 20}8.b.d.0.1.0.0.2.ip6._spf.example.com"


def test_capital_letters_are_escaped_for_urls() -> None:
    """C65, section 7.3: an upper-case macro is escaped: whatever is not unreserved becomes %XX, octet by octet."""
    said = text_from(macro_string("http://example.com/?s=%{S}", explanation=True), {"s": "a b&\u00fc~@x"}.__getitem__)
    assert said == "http://example.com/?s=a%20b%26%C3%BC~%40x"


def test_a_long_name_loses_labels_on_the_left() -> None:
    """C65, section 7.3: a name of more than 253 octets loses whole labels on its left until it fits."""
    name = expanded("%{l}.example.com", l=".".join(["abcdefghi"] * 40))
    assert name is not None
    assert name.endswith(".abcdefghi.example.com")
    assert 253 - 10 < len(name) <= 253
    assert expanded("%{l}", l="x" * 300) is None


@pytest.mark.parametrize("record", ["%{l255r-.}", "%{d999999999999999999999}", "%{s1r.-+,/_=}" * 500, "%{L}" * 1500])
def test_macro_bombs_cost_nothing(record: str) -> None:
    """SPF-01: records of nothing but macros, of thousands of parts, are read and expanded within a second; names keep to 253 octets."""
    begun = time.process_time()
    found, table = asked(
        {("example.com", "TXT"): [f"v=spf1 exists:{record}.example -all"]}, f"{'a-' * 31}a@example.com"
    )
    assert time.process_time() - begun < 1
    assert found.result is SpfResult.FAIL
    assert all(len(name) <= 253 for name, _ in table.asked)


@pytest.mark.parametrize("record", ["v=spf1 exists:%{l0} -all", "v=spf1 exists:%{l00r} -all", "v=spf1 -all exp=%{d0}"])
def test_no_part_at_all_is_an_error(record: str) -> None:
    """C65, section 7.1: a number of parts is not zero."""
    assert outcome(record).result is SpfResult.PERMERROR


def test_a_local_part_is_only_a_value() -> None:
    """SPF-02, section 7: "%" in a local part begins no macro, a blank and a backslash are characters of a label, a dot makes labels."""
    record = "v=spf1 exists:%{l}.u.example -all"
    for local, name in (
        ("%{d}", "%{d}.u.example"),
        ("a b", "a b.u.example"),
        ("a\\.b", "a\\\\.b.u.example"),
        ("x" * 63, f"{'x' * 63}.u.example"),
    ):
        _, table = asked({("example.com", "TXT"): [record]}, f"{local}@example.com")
        assert table.asked[1] == (name, "A")


@pytest.mark.parametrize("local", ["a\x00b", "x" * 64, "b\u00fccher", "a..b", "a\r\nb", "\x7f"])
def test_a_name_that_cannot_be_does_not_exist(local: str) -> None:
    """SPF-02, RFC 8616 section 4: NUL, 64 octets, line ends, UTF-8 in a local part: no question is asked, and the term does not match."""
    found, table = asked({("example.com", "TXT"): ["v=spf1 +exists:%{l}.u.example -all"]}, f"{local}@example.com")
    assert found.result is SpfResult.FAIL
    assert len(table.asked) == 1


def test_an_ipv4_client_is_one_however_it_is_written() -> None:
    """SPF-02, section 5: an IPv4-mapped IPv6 address is an IPv4 address: ip4 matches, ip6 does not."""
    assert outcome("v=spf1 ip4:192.0.2.0/24 -all", ip="::ffff:192.0.2.1").result is SpfResult.PASS
    assert outcome("v=spf1 ip6:::ffff:0:0/96 -all", ip="::ffff:192.0.2.1").result is SpfResult.FAIL
    assert outcome("v=spf1 ip6:2001:db8::/32 -all", ip="2001:db8::1").result is SpfResult.PASS
    assert outcome("v=spf1 ip4:0.0.0.0/0 -all", ip="2001:db8::1").result is SpfResult.FAIL


def test_a_client_without_an_address_is_nobody_s() -> None:
    """SPF-02: a Unix socket, and text that is no address, have no result, and nothing is asked."""
    for client in ("unix", "", "192.0.2.300", "[192.0.2.1]"):
        found, table = asked({("example.com", "TXT"): ["v=spf1 +all"]}, ip=client)
        assert (found.result, table.asked) == (SpfResult.NONE, [])


def test_policies_are_ascii() -> None:
    """SPF-02, section 3.1: an octet beyond ASCII, or a control character, anywhere in the record is a permerror."""
    for record in (
        "v=spf1 a:b\u00fccher.example -all",
        "v=spf1 +all x=\u00ff",
        "v=spf1 +all\r\n",
        "v=spf1 +all\x00",
        "v=spf1 a\tall",
    ):
        assert outcome(record).result is SpfResult.PERMERROR, record
    # a version ends at a blank (section 4.5)
    assert outcome("v=spf1\t+all").result is SpfResult.NONE


def test_an_explanation_is_printable_and_short() -> None:
    """SPF-01, SPF-02, section 6.2: what is said in a reply is printable ASCII of at most 400 characters, and never a line end."""
    sender = "a\r\n250 ok\x00\u00fc@example.com"
    found = outcome("v=spf1 -all exp=e.example", {("e.example", "TXT"): ["%{l} and %{s}" * 300]}, sender)
    assert len(found.explanation) == MAX_EXPLANATION
    assert found.explanation.isascii()
    assert found.explanation.isprintable()
    assert found.explanation.startswith("a??250 ok??")


@pytest.mark.parametrize(
    "texts",
    [[], ["one", "two"], ["\u00fc"], ["%{x}"], ["%"], ["a\r\nb"], ["tab\there"], Status.SERVFAIL, Status.TIMEOUT],
)
def test_an_explanation_that_is_wrong_is_none(texts: list[str] | Status) -> None:
    """Section 6.2: no record, several, octets beyond ASCII, a mistake in it, trouble with DNS: as if there were none."""
    found = outcome("v=spf1 -all exp=e.example", {("e.example", "TXT"): texts})
    assert (found.result, found.explanation) == (SpfResult.FAIL, "")


def test_an_explanation_knows_more_than_a_name() -> None:
    """Section 7.2: c, r and t are for explanations: the client's address, who received, and when."""
    found = outcome("v=spf1 -all exp=e.example", {("e.example", "TXT"): ["%{c} at %{r} %{t}"]})
    assert found.explanation == "192.0.2.1 at mx.example.org 1700000000"
    assert outcome("v=spf1 exists:%{t}.example -all").result is SpfResult.PERMERROR


def test_received_spf_says_what_was_checked() -> None:
    """C66, section 9.1: result, identity and what it was made from; each value a word of its own."""
    found = outcome("v=spf1 ip4:192.0.2.0/24 -all")
    assert received_spf(found) == (
        "pass (mx.example.org: domain of a@example.com designates 192.0.2.1 as permitted sender) receiver=mx.example.org; "
        'identity=mailfrom; client-ip=192.0.2.1; envelope-from="a@example.com"; helo=mail.example.net; mechanism="ip4:192.0.2.0/24"'
    )


@pytest.mark.parametrize("result", list(SpfResult))
def test_received_spf_lets_nothing_out_of_its_words(result: SpfResult) -> None:
    """C66, section 9.1: line ends, quotes, brackets and UTF-8 of strangers end no comment, no word and no field."""
    evil = 'x)\r\nX-Evil: "1";\\ \u00fc'
    value = received_spf(SpfOutcome(result, SpfIdentity(IP, evil, evil, "example.com"), evil, "", evil))
    assert value.isascii()
    assert value.isprintable()
    assert value.count(")") == value.count("(") == 1
    quoted = received_spf(SpfOutcome(result, SpfIdentity(IP, 'a"b\\', 'c"d', "example.com")))
    assert r'envelope-from="c\"d@example.com"; helo="a\"b\\"' in quoted


def test_all_records_of_a_check_have_a_bound() -> None:
    """SPF-01: four records of 8 kB that include each other are read no further than 24 kB; three are."""
    filler = " ".join(["ip4:203.0.113.9"] * 500)
    for count, result in ((3, SpfResult.PASS), (4, SpfResult.PERMERROR)):
        zone = includes(count - 1)
        padded = {
            key: [f"{records[0].partition(' ')[0]} {filler} {records[0].partition(' ')[2]}"]
            for key, records in zone.items()
            if not isinstance(records, Status)
        }
        assert asked(padded)[0].result is result


def test_a_record_has_a_bound() -> None:
    """Section 3.4: a record should fit a packet; one of more than 8192 octets is a permerror and not read."""
    assert outcome("v=spf1 " + "a " * 4092 + "+all").problem.endswith("longer than 8192 octets")
    assert outcome("v=spf1 " + "ip4:203.0.113.9 " * 500 + "+all").result is SpfResult.PASS
