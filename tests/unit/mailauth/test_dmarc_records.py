"""DMARC policy records, one text at a time."""

from __future__ import annotations

import pytest

from upesi.mailauth.dmarc_record import MAX_KEPT, MAX_RECORD, MAX_URIS, DmarcRecords, Policy, dmarc_record


@pytest.mark.parametrize(
    "text",
    [
        "",
        "v=DMARC2; p=reject",
        "v=dmarc1; p=reject",
        "v=Dmarc1; p=reject",
        " v=DMARC1; p=reject",
        "p=reject; v=DMARC1",
        "v=DMARC1 p=reject",
        "v=DMARC11; p=reject",
        "v=DMARC1, p=reject",
        "v:DMARC1; p=reject",
        "v=spf1 -all",
        "v=DMARC1; p=reject; p=none",
        "v=DMARC1; p=reject; P=none",
        "v=DMARC1; p=reject; x=" + "y" * MAX_RECORD,
    ],
)
def test_what_does_not_begin_with_its_version_is_no_record(text: str) -> None:
    """C77: `v=` is first and exact; a tag twice, and a record beyond the bound, make it none (DMARC-01)."""
    assert dmarc_record(text) is None


@pytest.mark.parametrize(
    "text",
    [
        "v=DMARC1;p=reject",
        "v=DMARC1; p=reject;",
        "v = DMARC1 ;\tp = reject ; ",
        "V=DMARC1; P=REJECT",
        "v=DMARC1; rua=mailto:a@b.example; p=reject",
        "v=DMARC1; p=reject; pct=20; rf=afrf; ri=3600",
        "v=DMARC1; p=reject; pct=0",
        "v=DMARC1; unknown=x; p=reject; ; ;; nonsense; =x; a=",
        "v=DMARC1; p=reject; adkim=x; aspf=; psd=maybe; t=1",
    ],
)
def test_a_record_means_what_is_left_when_all_that_is_unknown_is_ignored(text: str) -> None:
    """C75, RFC 9989 section 4.8: pct, rf and ri of old records, unknown tags and wrong values count as if they were not there."""
    record = dmarc_record(text)
    assert record is not None
    assert (record.policy, record.applies, record.psd, record.testing) == (Policy.REJECT, True, "u", False)
    assert (record.strict_dkim, record.strict_spf) == (False, False)


@pytest.mark.parametrize(
    ("text", "applies"),
    [
        ("v=DMARC1", False),
        ("v=DMARC1; rua=mailto:a@b.example", True),
        ("v=DMARC1; rua=nonsense", False),
        ("v=DMARC1; rua=https://b.example/r", True),
        ("v=DMARC1; p=block", False),
        ("v=DMARC1; p=block; rua=mailto:a@b.example", True),
        ("v=DMARC1; p=reject; sp=block", False),
        ("v=DMARC1; p=reject; np=block; rua=mailto:a@b.example", True),
    ],
)
def test_a_faulty_policy_is_none_at_the_most(text: str, applies: bool) -> None:
    """C77, RFC 9989 section 4.10.1: without a p, or with an sp or np that is none, p=none where reports are wanted, else no DMARC."""
    record = dmarc_record(text)
    assert record is not None
    assert record.applies is applies
    assert {record.policy_for(own=own, exists=exists) for own in (True, False) for exists in (True, False)} == {
        Policy.NONE
    }


@pytest.mark.parametrize(
    ("tags", "policies"),
    [
        ("p=reject", "reject reject reject"),
        ("p=reject; sp=none", "reject none none"),
        ("p=none; np=reject", "none none reject"),
        ("p=quarantine; sp=none; np=reject", "quarantine none reject"),
    ],
)
def test_subdomains_have_their_own_policy(tags: str, policies: str) -> None:
    """C75, RFC 9989 section 4.7: p for the domain, sp below it, np below it where nothing exists."""
    record = dmarc_record(f"v=DMARC1; {tags}")
    assert record is not None
    found = [record.policy_for(own=own, exists=exists) for own, exists in ((True, True), (False, True), (False, False))]
    assert " ".join(found) == policies


def test_testing_takes_one_step_off() -> None:
    """C75, RFC 9989 section 4.7: t=y makes quarantine of reject, and none of quarantine."""
    assert [policy.milder for policy in (Policy.REJECT, Policy.QUARANTINE, Policy.NONE)] == [
        "quarantine",
        "none",
        "none",
    ]


@pytest.mark.parametrize(
    ("rua", "expected"),
    [
        ("mailto:a@b.example", ["a@b.example"]),
        ("MAILTO:a@B.example", ["a@b.example"]),
        # the size of old records is read over
        ("mailto:a@b.example!10m", ["a@b.example"]),
        ("mailto:a@b.example!500", ["a@b.example"]),
        ("mailto:a@b.example!99999999999999999999", ["a@b.example"]),
        ("mailto:a@b.example!10x", []),
        ("mailto:a@b.example , mailto:c@d.example!1K", ["a@b.example", "c@d.example"]),
        ("mailto:a@b.example\t,\tmailto:c@d.example", ["a@b.example", "c@d.example"]),
        ("mailto:a%21x@b.example", ["a!x@b.example"]),
        ("https://b.example/r,mailto:a@b.example", ["a@b.example"]),
        ("mailto:a@b.example?subject=x&bcc=y@z.example!10m", ["a@b.example"]),
        ("mailto:?to=a@b.example", []),
        ("mailto:a@b.example%0d%0aRCPT%20TO:<x@y.example>", []),
        ("mailto:a@b.example%2cc@d.example", []),
        ("mailto:<a@b.example>", []),
        ("a@b.example", []),
        ("mailto:", []),
        (",,,", []),
    ],
)
def test_reports_go_to_addresses_and_nothing_else(rua: str, expected: list[str]) -> None:
    """DMARC-02, RFC 9989 section 4.8: no CR LF, second address, header field, size or other scheme comes out of a URI."""
    record = dmarc_record(f"v=DMARC1; p=none; rua={rua}")
    assert record is not None
    assert [str(uri.address) for uri in record.rua] == expected


@pytest.mark.parametrize(
    ("fo", "read"),
    [
        ("0", "0"), ("1:d:s", "1:d:s"), ("d:1:s", "d:1:s"), ("S:D", "s:d"),
        ("0:1", ""), ("d:d", ""), ("01", ""), ("1:", ""), ("x", ""), ("1 : d", ""), ("", ""), ("<x/>", ""),
    ],
)  # fmt: skip
def test_options_of_failure_reports_are_a_few_letters(fo: str, read: str) -> None:
    """RFC 9989 section 4.7: 0 or 1, d and s, each once; anything else is the default, and gets into no report."""
    record = dmarc_record(f"v=DMARC1; p=none; ruf=mailto:a@b.example; fo={fo}")
    assert record is not None
    assert record.fo == read


def test_a_thousand_addresses_are_a_few() -> None:
    """DMARC-02: no more than MAX_URIS addresses of a record get reports."""
    record = dmarc_record("v=DMARC1; p=none; rua=" + ",".join(f"mailto:r{n}@b.example" for n in range(150)))
    assert record is not None
    assert len(record.rua) == MAX_URIS


def test_a_record_that_was_read_is_kept_within_a_bound() -> None:
    """A text is read once; strangers' texts cannot fill the memory: longer ones are none, and at the bound all are forgotten (DMARC-02)."""
    records = DmarcRecords()
    first = records.read("v=DMARC1; p=reject")
    assert first is not None
    assert first.policy is Policy.REJECT
    assert records.read("v=DMARC1; p=reject") is first
    assert records.read("v=DMARC1; p=reject; n=" + "x" * MAX_RECORD) is None
    assert records.read("something else") is None
    for number in range(MAX_KEPT):
        records.read(f"v=DMARC1; p=none; n={number}")
    again = records.read("v=DMARC1; p=reject")
    assert again == first
    assert again is not first
