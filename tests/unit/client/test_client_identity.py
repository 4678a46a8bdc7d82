"""Which certificate is for whom."""

from __future__ import annotations

import pytest

from upesi.client.identity import MAX_NAMES, bears, certificate_names, spoken, wanted_names


@pytest.mark.parametrize(
    ("shown", "wanted", "good"),
    [
        ("a.example", "a.example", True), ("a.example", "A.Example.", True), ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False), ("*.example.org", "example.org", False), ("*.org", "example.org", False),
        ("a*.example.org", "ab.example.org", False), ("*", "a", False), ("*.example.org", "*.example.org", False),
        ("b.a.example", ".a.example", True), ("a.example", ".a.example", False), ("xa.example", ".a.example", False),
        ("*.a.example", ".a.example", True), ("c.b.a.example", ".a.example", True), ("*.example", ".a.example", False),
        ("192.0.2.1", "192.0.2.1", True), ("*.0.2.1", "192.0.2.1", False), ("192.0.2.1", ".0.2.1", False),
        ("2001:db8:0:0:0:0:0:1", "2001:db8::1", True), ("a.example", "192.0.2.1", False), ("", "", False),
    ],
)  # fmt: skip
def test_names_are_compared_label_by_label(shown: str, wanted: str, good: bool) -> None:
    """C103, RFC 9525 section 6.3: a wildcard is one whole label, never directly below a top-level domain; addresses by value."""
    assert bears((shown,), (wanted,)) is good


def test_what_is_wanted_does_not_come_from_dns() -> None:
    """RFC 7817 section 3: the next-hop domain and what is below it; the name of an MX record only where a policy says "mx"."""
    assert wanted_names((), "dest.example", "mx.evil.example") == ("dest.example", ".dest.example")
    assert wanted_names((), "", "smarthost.example") == ("smarthost.example",)
    assert wanted_names(("mx", "x.example"), "dest.example", "mx.example") == ("mx.example", "x.example")


def test_only_names_of_hosts_count_and_not_all_of_many() -> None:
    """TLS-12: the common name, mail addresses and URIs are none, and ten thousand names are not looked through."""
    names = (("email", "a.example"), ("URI", "b.example"), ("DNS", "C.example"), ("IP Address", "192.0.2.1"))
    subject = ((("commonName", "d.example"),),)
    assert certificate_names({"subject": subject, "subjectAltName": names}) == ("c.example", "192.0.2.1")
    assert certificate_names({"subject": subject}) == ()
    assert certificate_names(None) == certificate_names({}) == ()
    many = tuple(("DNS", f"{n}.example") for n in range(10_000))
    assert len(certificate_names({"subjectAltName": many})) == MAX_NAMES


def test_a_few_names_are_told_and_none_does_harm() -> None:
    """OUT-14: whose certificate it is is said, in a bounded number of printable words: they are the server's."""
    assert spoken(("a.example", "*.b.example")) == "a.example, *.b.example"
    assert spoken(("a", "b", "c", "d", "e")) == "a, b, c and 2 more"
    assert spoken(("x\r\n250 ok<\x1b[0m\u202e",)) == "x??250?ok???0m?"
    assert len(spoken(("a" * 1000,))) == 63
    assert spoken(()) == "no name of a host"
