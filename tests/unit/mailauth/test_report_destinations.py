"""Who may be sent a domain's reports."""

from __future__ import annotations

import pytest
from tests.unit.mailauth.answerkit import Table

from upesi.mail.answers import Status
from upesi.mailauth.asking import answered_from
from upesi.mailauth.dmarc_record import MAX_URIS, dmarc_record
from upesi.mailauth.report_destinations import Destinations, report_destinations

RECORDS = {
    ("_dmarc.bank.example", "TXT"): ["v=DMARC1; p=reject"],
    ("bank.example._report._dmarc.agreed.example", "TXT"): ["v=DMARC1"],
    ("bank.example._report._dmarc.moved.example", "TXT"): ["v=DMARC1; rua=mailto:new@moved.example"],
    ("bank.example._report._dmarc.sly.example", "TXT"): ["v=DMARC1; rua=mailto:x@victim.example"],
    ("bank.example._report._dmarc.both.example", "TXT"): [
        "v=DMARC1; rua=mailto:r@both.example,mailto:x@victim.example"
    ],
    ("bank.example._report._dmarc.web.example", "TXT"): ["v=DMARC1; rua=https://web.example/r"],
    ("bank.example._report._dmarc.other.example", "TXT"): ["v=spf1 -all"],
    ("other.example._report._dmarc.elsewhere.example", "TXT"): ["v=DMARC1"],
    ("bank.example._report._dmarc.slow.example", "TXT"): Status.TIMEOUT,
}


def destinations(rua: str, domain: str = "bank.example") -> Destinations:
    record = dmarc_record(f"v=DMARC1; p=none; rua={rua}")
    assert record is not None
    return answered_from(report_destinations(domain, record.rua), Table(RECORDS))


def allowed(rua: str, domain: str = "bank.example") -> list[str]:
    found = destinations(rua, domain)
    assert found.trouble == ""
    return [str(uri.address) for uri in found.uris]


@pytest.mark.parametrize(
    ("rua", "expected"),
    [
        ("mailto:r@bank.example", ["r@bank.example"]),
        ("mailto:r@mail.bank.example", ["r@mail.bank.example"]),
        ("mailto:r@agreed.example", ["r@agreed.example"]),
        ("mailto:r@moved.example", ["new@moved.example"]),
        ("mailto:r@sly.example", []),
        ("mailto:r@both.example", []),
        ("mailto:r@web.example", []),
        ("mailto:r@other.example", []),
        ("mailto:r@victim.example", []),
        ("mailto:r@elsewhere.example", []),
        ("mailto:r@[192.0.2.1]", []),
        ("mailto:r@bank.example,mailto:R@BANK.example", ["r@bank.example"]),
        ("mailto:r@victim.example,mailto:r@bank.example", ["r@bank.example"]),
    ],
)
def test_reports_go_elsewhere_only_where_they_are_wanted(rua: str, expected: list[str]) -> None:
    """C79, DMARC-02, RFC 9990 section 4: the same organization, or a record at the destination, which cannot pass it on."""
    assert allowed(rua) == expected


def test_a_subdomain_reports_to_its_organization() -> None:
    """RFC 9990 section 4: organizational domains are compared."""
    assert allowed("mailto:r@bank.example", "mail.bank.example") == ["r@bank.example"]


def test_silence_of_one_destination_does_not_hide_the_others() -> None:
    """RFC 9990 sections 3.5 and 4: no consent and no refusal where DNS cannot say; who is known may have the report."""
    found = destinations("mailto:r@slow.example,mailto:r@agreed.example,mailto:r@bank.example")
    assert [str(uri.address) for uri in found.uris] == ["r@agreed.example", "r@bank.example"]
    assert "slow.example" in found.trouble


def test_a_record_costs_a_bounded_number_of_lookups() -> None:
    """DMARC-02: some dozens of questions a day at the most for the longest list of the longest names."""
    deep = "a.b.c.d.e.f.g.h.i"
    record = dmarc_record("v=DMARC1; p=none; rua=" + ",".join(f"mailto:r@{deep}.x{n}.test" for n in range(100)))
    assert record is not None
    dns = Table({})
    assert answered_from(report_destinations(f"{deep}.example", record.rua), dns) == Destinations()
    assert len(dns.asked) <= 8 + MAX_URIS * 9
