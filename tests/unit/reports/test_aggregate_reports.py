"""Aggregate reports: the document against the schema of RFC 9990, and the message around it."""

from __future__ import annotations

import email
import email.policy
import gzip
import itertools
import re
from collections import Counter
from email.message import EmailMessage
from pathlib import Path
from typing import cast
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import msgspec
import pytest

import upesi
from upesi.mail.address import Address
from upesi.mailauth.observation import MethodSaid, Observation, Published
from upesi.reports.aggregate import AggregateReport, aggregate_xml
from upesi.reports.aggregate_mail import MAX_REPORT, report_id, report_mail, report_message_id, report_name, zipped
from upesi.store.aggregates import MAX_ROWS

SPACE = "{urn:ietf:params:xml:ns:dmarc-2.0}"
PUBLISHED = Published("bank.example", "reject", sp="none", np="reject", fo="1", testing=True)
ROW = Observation(
    "192.0.2.1", "bank.example", "elsewhere.example", "none", False, True, "trusted_forwarder", "arc=pass from list.example",
    (MethodSaid("list.example", "pass", "s1"), MethodSaid("bank.example", "fail", "s2")), (MethodSaid("elsewhere.example", "softfail"),),
)  # fmt: skip
BARE = Observation("2001:db8::1", "mail.bank.example", "", "reject", False, False)
BEGINS = 20_000 * 86_400
REPORT = AggregateReport(
    "abc123", "Example Mail", "postmaster@mx.example", BEGINS, BEGINS + 86_399, PUBLISHED, ((ROW, 5), (BARE, 1))
)
TO = Address("reports", "bank.example")
FROM = Address("postmaster", "mx.example")

# The schema of RFC 9990 appendix A: by name, or parent and name, the children with the least and most of each, and the words allowed.
# `record` may end in elements of other namespaces; ours has none, and none is allowed here.
MANY = 10**9
# whose children come in the order given (xs:sequence); those of the others in any (xs:all)
ORDERED = {"feedback", "record", "policy_evaluated", "auth_results"}
DISPOSITION = {"none", "pass", "quarantine", "reject"}
CHILDREN = {
    "feedback": {"version": (0, 1), "report_metadata": (1, 1), "policy_published": (1, 1), "extension": (0, 1), "record": (1, MANY)},
    "report_metadata": {
        "org_name": (1, 1), "email": (1, 1), "extra_contact_info": (0, 1), "report_id": (1, 1), "date_range": (1, 1), "error": (0, 1),
        "generator": (0, 1),
    },
    "date_range": {"begin": (1, 1), "end": (1, 1)},
    "policy_published": {
        "domain": (1, 1), "p": (1, 1), "sp": (0, 1), "np": (0, 1), "adkim": (0, 1), "aspf": (0, 1), "discovery_method": (0, 1),
        "fo": (0, 1), "testing": (0, 1),
    },
    "record": {"row": (1, 1), "identifiers": (1, 1), "auth_results": (1, 1)},
    "row": {"source_ip": (1, 1), "count": (1, 1), "policy_evaluated": (1, 1)},
    "policy_evaluated": {"disposition": (1, 1), "dkim": (1, 1), "spf": (1, 1), "reason": (0, MANY)},
    "reason": {"type": (1, 1), "comment": (0, 1)},
    "identifiers": {"header_from": (1, 1), "envelope_from": (0, 1), "envelope_to": (0, 1)},
    "auth_results": {"dkim": (0, MANY), "spf": (0, 1)},
    "auth_results/dkim": {"domain": (1, 1), "selector": (1, 1), "result": (1, 1), "human_result": (0, 1)},
    "auth_results/spf": {"domain": (1, 1), "scope": (0, 1), "result": (1, 1), "human_result": (0, 1)},
}  # fmt: skip
WORDS = {
    "p": {"none", "quarantine", "reject"}, "sp": {"none", "quarantine", "reject"}, "np": {"none", "quarantine", "reject"},
    "adkim": {"r", "s"}, "aspf": {"r", "s"}, "testing": {"n", "y"}, "discovery_method": {"psl", "treewalk"}, "scope": {"mfrom"},
    "disposition": DISPOSITION, "policy_evaluated/dkim": {"pass", "fail"}, "policy_evaluated/spf": {"pass", "fail"},
    "type": {"local_policy", "mailing_list", "other", "policy_test_mode", "trusted_forwarder"},
    "dkim/result": {"none", "pass", "fail", "policy", "neutral", "temperror", "permerror"},
    "spf/result": {"none", "pass", "fail", "softfail", "policy", "neutral", "temperror", "permerror"},
    # the schema says xs:decimal, section 3.1.1.2 says 1.0
    "version": {"1.0"},
}  # fmt: skip
NUMBERS = {"begin", "end", "count"}


def faults(element: Element, parent: str = "") -> list[str]:
    """Return what in `element` is not as the schema has it."""
    name = element.tag.removeprefix(SPACE)
    if SPACE + name != element.tag:
        return [f"{element.tag} is in no namespace, or another"]
    children = CHILDREN.get(f"{parent}/{name}", CHILDREN.get(name))
    if children is None:
        return _text_faults(name, parent, element)
    names = [child.tag.removeprefix(SPACE) for child in element]
    count = Counter(names)
    between = [element.text, *(child.tail for child in element)]
    wrong = [f"{name}: text between elements"] if "".join(filter(None, between)).strip() else []
    order = [child for child in children if child in count]
    if name in ORDERED and order != [child for child, _ in itertools.groupby(names)]:
        wrong.append(f"{name}: not in order")
    wrong += [f"{name}: {child} has no place" for child in count if child not in children]
    wrong += [
        f"{name}: {count.get(child, 0)} of {child}"
        for child, (low, high) in children.items()
        if not low <= count.get(child, 0) <= high
    ]
    return wrong + [fault for child in element for fault in faults(child, name)]


def _text_faults(name: str, parent: str, element: Element) -> list[str]:
    text = element.text or ""
    words = WORDS.get(f"{parent}/{name}", WORDS.get(name))
    if len(element) or (words and text not in words) or (name in NUMBERS and not text.isdigit()):
        return [f"{parent}/{name}: {text!r}"]
    return []


def document(report: AggregateReport) -> Element:
    return ElementTree.fromstring(aggregate_xml(report))


def test_the_document_is_as_the_schema_has_it() -> None:
    """C79, RFC 9990 appendix A: every element in its place, with the words that are allowed there."""
    assert faults(document(REPORT)) == []
    shapes = [
        {"lost": 3, "published": Published("b.example", "none", faulty=True)},
        {"rows": ((BARE, 1),)},
        *({"rows": ((msgspec.structs.replace(ROW, override=word, comment=""), 1),)} for word in ("", *WORDS["type"])),
        *({"rows": ((msgspec.structs.replace(ROW, disposition=word), 1),)} for word in DISPOSITION),
        *(
            {"rows": ((msgspec.structs.replace(ROW, dkim=(MethodSaid("a", said),), spf=(MethodSaid("a", said),)), 1),)}
            for said in (*WORDS["spf/result"], "hardfail")
        ),
    ]
    assert [shape for shape in shapes if faults(document(msgspec.structs.replace(REPORT, **shape)))] == []


def test_the_check_of_the_schema_finds_what_is_wrong() -> None:
    """The test above could fail."""
    wrong = aggregate_xml(REPORT).replace(b"<p>reject</p>", b"<p>block</p>").replace(b"<count>5</count>", b"")
    wrong = wrong.replace(b"<generator>", b"<generater>").replace(b"</generator>", b"</generater>")
    assert len(faults(ElementTree.fromstring(wrong))) == 3


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<version>1.0</version>", ""),
        ("<report_metadata>", "<report_metadata><error>x</error><error>y</error>"),
        ("<disposition>none</disposition>\n<dkim>fail</dkim>", "<dkim>fail</dkim><disposition>none</disposition>"),
        ("<identifiers>", "x<identifiers>"),
        ("<auth_results>\n</auth_results>", "<auth_results><spf><domain>a</domain><result>pass</result></spf><dkim/></auth_results>"),
        ("<result>softfail</result>", "<result>hardfail</result>"),
        ('xmlns="urn:ietf:params:xml:ns:dmarc-2.0"', 'xmlns="urn:ietf:params:xml:ns:dmarc-1.0"'),
    ],
)  # fmt: skip
def test_order_number_and_words_are_looked_at(before: str, after: str) -> None:
    """RFC 9990 sections 3.1.1.2 to 3.1.1.11: some elements have an order, one error is all; only `version` may be left out."""
    text = aggregate_xml(REPORT).decode()
    assert before in text
    changed = text.replace(before, after, 1)
    assert bool(faults(ElementTree.fromstring(changed))) is (after != "")


def test_one_element_tells_all_errors() -> None:
    """RFC 9990 sections 3.1.1.3 and 3.1.5: a record that is at fault, and what no row says, in one `error`."""
    report = msgspec.structs.replace(REPORT, lost=3, published=Published("b.example", "none", faulty=True))
    (error,) = document(report).iter(f"{SPACE}error")
    assert error.text is not None
    assert "counts as p=none; 3 more messages" in error.text


def test_the_document_says_what_was_seen() -> None:
    """RFC 9990 section 3.1: the policy, and for each row who sent, how often, what was found and done."""
    root = document(REPORT)

    def said(path: str) -> list[str | None]:
        return [element.text for element in root.iterfind("/".join(f"{SPACE}{name}" for name in path.split("/")))]

    assert said("report_metadata/date_range/begin") == [str(BEGINS)]
    assert said("policy_published/domain") == ["bank.example"]
    assert said("policy_published/testing") == ["y"]
    assert said("record/row/source_ip") == ["192.0.2.1", "2001:db8::1"]
    assert said("record/row/count") == ["5", "1"]
    assert said("record/row/policy_evaluated/disposition") == ["none", "reject"]
    assert said("record/row/policy_evaluated/reason/type") == ["trusted_forwarder"]
    assert said("record/identifiers/header_from") == ["bank.example", "mail.bank.example"]
    assert said("record/identifiers/envelope_from") == ["elsewhere.example"]
    assert said("record/auth_results/dkim/selector") == ["s1", "s2"]
    assert said("record/auth_results/spf/result") == ["softfail"]


@pytest.mark.parametrize(
    "text", ["<x/>", "&amp;", "]]>", '"', "\x00\x08\ufffe\ud800", "<!ENTITY x SYSTEM 'file:///etc/passwd'>", "a\r\nb"]
)
def test_no_text_from_outside_breaks_the_document(text: str) -> None:
    """RPT-01: what senders chose is text and nothing else; what XML cannot hold is replaced."""
    results = {"dkim": (MethodSaid(text, text, text),), "spf": (MethodSaid(text, text),)}
    row = msgspec.structs.replace(ROW, source=text, header_from=text, envelope_from=text, comment=text, **results)
    root = document(msgspec.structs.replace(REPORT, organization=text, rows=((row, 1),)))
    assert faults(root) == []
    shown = root.find(f"{SPACE}record/{SPACE}identifiers/{SPACE}header_from")
    assert shown is not None
    # XML makes one line end of each
    expected = text if "\x00" not in text else "????"
    assert (shown.text or "").replace("\n", "") == expected.replace("\r\n", "")


def test_nothing_of_a_report_from_outside_is_unpacked() -> None:
    """RPT-01: reports to us are ordinary mail. No module can unpack or parse one, so no bomb and no entity has anything to go off in."""
    source = Path(upesi.__file__).parent
    readers = re.compile(
        r"xml\.(etree|dom|parsers)|zipfile|lzma|bz2|\bdecompress\(|decompressobj|GzipFile|gzip\.open|tarfile"
    )
    assert [path.name for path in source.rglob("*.py") if readers.search(path.read_text())] == []


def test_the_message_carries_the_document_as_the_rfc_names_it() -> None:
    """C79, RFC 9990 section 3.5.2: gzip under its name, the subject, null answers (RFC 3834), 7-bit lines that fit."""
    id = report_message_id(REPORT.id, TO, REPORT.begins)
    octets = report_mail(REPORT, zipped(REPORT), TO, id, FROM, "mx.example", BEGINS + 90_000.0)
    assert octets.isascii()
    assert max(map(len, octets.split(b"\r\n"))) <= 100
    assert b"\n" not in octets.replace(b"\r\n", b"")
    message = cast(EmailMessage, email.message_from_bytes(octets, policy=email.policy.default))
    assert message["Subject"] == "Report Domain: bank.example Submitter: mx.example Report-ID: <abc123>"
    assert b"\r\nFrom: <postmaster@mx.example>\r\nTo: <reports@bank.example>\r\n" in octets
    assert message["Auto-Submitted"] == "auto-generated"
    text, attached = message.iter_parts()
    assert "bank.example" in text.get_content()
    assert attached.get_content_type() == "application/gzip"
    assert attached.get_filename() == f"mx.example!bank.example!{BEGINS}!{BEGINS + 86_399}!abc123.xml.gz"
    assert gzip.decompress(attached.get_content()) == aggregate_xml(REPORT)


def test_the_largest_report_is_below_its_bound() -> None:
    """C79: a thousand rows that differ in all they can, zipped and as a message."""
    rows = tuple(
        (
            msgspec.structs.replace(
                ROW,
                source=f"2001:db8::{n:x}",
                header_from=f"h{n}." + "a" * 200,
                dkim=tuple(MethodSaid(f"d{n}-{k}.{n * 7919 % 104729}.example", "pass", f"s{n * k}") for k in range(5)),
            ),
            n,
        )
        for n in range(MAX_ROWS)
    )
    report = msgspec.structs.replace(REPORT, rows=rows)
    assert faults(document(report)) == []
    octets = report_mail(report, zipped(report), TO, report_message_id("x", TO, BEGINS), FROM, "mx.example", 0.0)
    assert len(octets) < MAX_REPORT / 4


def test_the_same_report_has_the_same_names() -> None:
    """Nothing is sent twice: ids follow from domain, day, receiver and address alone."""
    assert report_id("bank.example", 20_000, "mx.example") == report_id("bank.example", 20_000, "mx.example")
    ids = {
        report_id(domain, day, host) for domain in ("a.example", "b.example") for day in (1, 2) for host in ("x", "y")
    }
    assert len(ids) == 8
    assert (
        report_message_id("a", TO, BEGINS) == report_message_id("a", TO, BEGINS) != report_message_id("a", FROM, BEGINS)
    )
    assert len(report_message_id("a", TO, BEGINS)) == 16
    assert report_name(REPORT, "mx.example").count("!") == 4
