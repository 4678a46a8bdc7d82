"""The tree walk and the outcome of DMARC, with DNS as a table."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from tests.unit.mailauth.answerkit import Table

from upesi.mail.answers import Status
from upesi.mailauth.asking import answered_from
from upesi.mailauth.dmarc import MAX_AUTHOR_DOMAINS, DmarcOutcome, check_dmarc
from upesi.mailauth.dmarc_walk import Walker, organizational_domain, policy_of, walk_names

Records = dict[str, str | list[str] | Status]


def table(records: Records, *existing: str) -> Table:
    """Return DNS with these DMARC records by domain, and names that exist."""
    zone: dict[tuple[str, str], Sequence[str] | Status] = {(name, "A"): ["192.0.2.1"] for name in existing}
    for domain, record in records.items():
        zone[f"_dmarc.{domain}", "TXT"] = [record] if isinstance(record, str) else record
    return Table(zone)


def check(
    author: str, records: Records, *existing: str, spf: Sequence[str] = (), dkim: Sequence[str] = ()
) -> tuple[DmarcOutcome, Table]:
    dns = table(records, *existing)
    return answered_from(check_dmarc(author.split(), spf, dkim), dns), dns


def found(domain: str, records: Records) -> tuple[str, str]:
    """Return the organizational domain, and whose policy holds ("" for nobody's)."""
    walked = answered_from(Walker().walk(domain), table(records))
    holder = policy_of(domain, walked)
    return organizational_domain(domain, walked), holder.domain if holder else ""


def test_a_long_name_is_asked_about_in_eight_queries() -> None:
    """C74, DMARC-01, RFC 9989 section 4.10: its own example, in its order."""
    dns = table({})
    answered_from(Walker().walk("a.b.c.d.e.f.g.h.i.j.mail.example.com"), dns)
    assert [name for name, kind in dns.asked if kind == "TXT"] == [
        "_dmarc.a.b.c.d.e.f.g.h.i.j.mail.example.com",
        "_dmarc.g.h.i.j.mail.example.com",
        "_dmarc.h.i.j.mail.example.com",
        "_dmarc.i.j.mail.example.com",
        "_dmarc.j.mail.example.com",
        "_dmarc.mail.example.com",
        "_dmarc.example.com",
        "_dmarc.com",
    ]


@pytest.mark.parametrize("labels", [1, 2, 7, 8, 9, 60, 127])
def test_no_walk_is_longer_than_eight(labels: int) -> None:
    """C74: whatever the name, and each name once."""
    names = list(walk_names(".".join(["a"] * labels)))
    assert len(names) == min(labels, 8)
    assert len(set(names)) == len(names)


@pytest.mark.parametrize(
    ("domain", "records", "expected"),
    [
        # the three examples of RFC 9989 section 4.10.2
        ("a.mail.example.com", {"mail.example.com": "p=none", "example.com": "p=none"}, ("example.com", "example.com")),
        ("a.mail.example.com", {"mail.example.com": "p=none; psd=n", "example.com": "p=none"}, ("mail.example.com", "mail.example.com")),
        ("a.mail.example.com", {"com": "p=none; psd=y"}, ("example.com", "com")),
        # its own record counts first, wherever it belongs
        ("a.example.com", {"a.example.com": "p=none", "example.com": "p=none"}, ("example.com", "a.example.com")),
        # a record between author and organization says nothing
        ("a.b.example.com", {"b.example.com": "p=none", "example.com": "p=none"}, ("example.com", "example.com")),
        ("example.com", {"example.com": "p=none", "com": "p=none; psd=y"}, ("example.com", "example.com")),
        ("mail.example.com", {"mail.example.com": "p=none; psd=y", "com": "p=none"}, ("mail.example.com", "mail.example.com")),
        ("a.b.gov.example", {"gov.example": "p=reject; psd=y", "b.gov.example": "p=none"}, ("b.gov.example", "b.gov.example")),
        ("com", {"com": "p=none; psd=y"}, ("com", "com")),
        ("com", {}, ("com", "")),
        ("a.example.com", {}, ("a.example.com", "")),
    ],
)  # fmt: skip
def test_the_walk_finds_the_organization_and_its_policy(
    domain: str, records: dict[str, str], expected: tuple[str, str]
) -> None:
    """C74, C76, DMARC-01, RFC 9989 sections 4.10.1 and 4.10.2: psd=n ends it, psd=y is one label too high, else the fewest labels."""
    assert found(domain, {name: f"v=DMARC1; {tags}" for name, tags in records.items()}) == expected


def test_several_records_are_none() -> None:
    """C77, RFC 9989 section 4.10: two policies are discarded, other texts at the name are not counted."""
    two: Records = {
        "a.example.com": ["v=DMARC1; p=reject", "v=DMARC1; p=none"],
        "example.com": "v=DMARC1; p=quarantine",
    }
    assert found("a.example.com", two) == ("example.com", "example.com")
    assert (
        found("example.com", {"example.com": ["v=DMARC1; p=reject", "google-site=x", "v=DMARC2; p=none"]})[1]
        == "example.com"
    )


REJECT = "v=DMARC1; p=reject"


@pytest.mark.parametrize(
    ("author", "tags", "spf", "dkim", "result"),
    [
        ("example.com", "", ["example.com"], [], "pass"),
        ("example.com", "", [], ["example.com"], "pass"),
        ("example.com", "", ["mail.example.com"], [], "pass"),
        ("mail.example.com", "", [], ["example.com"], "pass"),
        ("a.example.com", "", ["b.example.com"], [], "pass"),
        ("example.com", "", ["EXAMPLE.com"], [], "pass"),
        ("example.com", "", ["other.example"], ["another.example"], "fail"),
        ("example.com", "", [], [], "fail"),
        ("example.com", "", ["notexample.com"], ["com"], "fail"),
        ("example.com", "", ["example.com.evil.example"], [], "fail"),
        ("example.com", "; aspf=s", ["mail.example.com"], [], "fail"),
        ("example.com", "; aspf=s", [], ["mail.example.com"], "pass"),
        ("example.com", "; adkim=s", [], ["mail.example.com"], "fail"),
        ("example.com", "; adkim=s; aspf=s", [], ["example.com"], "pass"),
        # "Composition Kills": what a verifier reports is not a domain just because it begins like one
        ("example.com", "", [], ["example.com(.evil.example"], "fail"),
        ("example.com", "", [], ["example.com'a.evil.example", "example.com\x00.evil.example", ""], "fail"),
        ("example.com", "", ["[192.0.2.1]"], [], "fail"),
    ],
)
def test_one_aligned_domain_is_enough(author: str, tags: str, spf: list[str], dkim: list[str], result: str) -> None:
    """C76, RFC 9989 section 4.4: strict asks for the same domain, relaxed for the same organization."""
    outcome, _ = check(author, {"example.com": REJECT + tags}, spf=spf, dkim=dkim)
    assert outcome.result == result
    assert bool(outcome.dkim or outcome.spf) is (result == "pass")


def test_organizations_below_one_public_suffix_are_not_aligned() -> None:
    """C76: psd=y and psd=n part what the name alone would join."""
    records: Records = {
        "suffix.example": "v=DMARC1; p=none; psd=y",
        "a.suffix.example": REJECT,
        "unit.b.example": REJECT + "; psd=n",
        "b.example": REJECT,
    }
    assert check("a.suffix.example", records, dkim=["c.suffix.example"])[0].result == "fail"
    assert check("b.example", records, dkim=["unit.b.example"])[0].result == "fail"
    assert check("b.example", records, dkim=["other.b.example"])[0].result == "pass"


@pytest.mark.parametrize(
    ("author", "existing", "policy"),
    [
        ("example.com", [], "quarantine"),
        ("a.example.com", ["a.example.com"], "none"),
        ("a.example.com", ["b.a.example.com"], "none"),
        ("a.example.com", [], "reject"),
    ],
)
def test_names_that_do_not_exist_have_their_own_policy(author: str, existing: list[str], policy: str) -> None:
    """C75, DMARC-01, RFC 9989 section 3.2.13: NXDOMAIN alone says that; np holds then."""
    outcome, _ = check(author, {"example.com": "v=DMARC1; p=quarantine; sp=none; np=reject"}, *existing)
    assert (outcome.result, outcome.policy) == ("fail", policy)


def test_nobody_is_asked_whether_a_name_exists_where_it_makes_no_difference() -> None:
    """One question less for nearly every domain."""
    _, dns = check("a.example.com", {"example.com": "v=DMARC1; p=reject; np=reject"})
    assert [kind for _, kind in dns.asked if kind == "A"] == []


def test_a_domain_that_only_tests_is_spared_a_step() -> None:
    """C75: t=y is looked at last."""
    outcome, _ = check("example.com", {"example.com": REJECT + "; t=y"})
    assert (outcome.policy, outcome.asked, outcome.testing) == ("quarantine", "reject", True)


def test_without_a_policy_nothing_is_said() -> None:
    """RFC 9989 sections 4.10.1 and 9.2: no record is "none"; one that is not valid and wants no report is "permerror", and no policy."""
    assert check("example.com", {}, spf=["example.com"])[0].result == "none"
    outcome, _ = check("example.com", {"example.com": "v=DMARC1; p=block"}, spf=["example.com"])
    assert (outcome.result, outcome.author, outcome.policy, outcome.record) == (
        "permerror",
        "example.com",
        "none",
        None,
    )


@pytest.mark.parametrize(
    ("records", "result"),
    [
        ({"example.com": Status.SERVFAIL}, "temperror"),
        ({"example.com": Status.TIMEOUT}, "temperror"),
        # what is above is not asked where nothing is to be aligned
        ({"example.com": REJECT, "com": Status.TIMEOUT}, "fail"),
    ],
)
def test_trouble_with_dns_is_no_policy_of_its_own(records: Records, result: str) -> None:
    """DMARC-01, RFC 9989 section 5.3.6: who can disturb DNS does not get "none"."""
    assert check("example.com", records)[0].result == result


BROKEN_ABOVE: Records = {"example.com": REJECT, "com": Status.TIMEOUT}
BROKEN_BELOW: Records = {"example.com": REJECT + "; psd=n", "a.example.com": Status.SERVFAIL}


@pytest.mark.parametrize(
    ("author", "records", "spf", "dkim", "result"),
    [
        # identical, with a record of its own: nothing else has to be known
        ("example.com", BROKEN_ABOVE, [], ["example.com"], "pass"),
        ("example.com", BROKEN_ABOVE, ["a.example.com"], [], "temperror"),
        ("example.com", BROKEN_ABOVE, ["a.example.com"], ["example.com"], "pass"),
        # one domain of which nothing is known does not hide another that is aligned
        ("example.com", BROKEN_BELOW, [], ["a.example.com", "b.example.com"], "pass"),
        ("example.com", BROKEN_BELOW, ["b.example.com"], ["a.example.com"], "pass"),
        ("example.com", BROKEN_BELOW, [], ["a.example.com"], "temperror"),
        ("example.com", BROKEN_BELOW, [], ["a.example.net"], "fail"),
        # strict: names are compared, and nobody is asked
        ("example.com", {"example.com": REJECT + "; adkim=s", "com": Status.TIMEOUT}, [], ["a.example.com"], "fail"),
    ],
)
def test_a_pass_needs_no_more_of_dns_than_what_aligns_it(
    author: str, records: Records, spf: list[str], dkim: list[str], result: str
) -> None:
    """RFC 9989 sections 4.10.1, 4.10.2 and 5.3.6: identical domains and strict alignment need no walk."""
    assert check(author, records, spf=spf, dkim=dkim)[0].result == result


def test_a_domain_with_a_record_and_a_signature_of_its_own_costs_one_lookup() -> None:
    """RFC 9989 section 4.10.2, the note: there is no walk where the names are the same."""
    _, dns = check(
        "mail.example.com", {"mail.example.com": REJECT}, spf=["mail.example.com"], dkim=["mail.example.com"]
    )
    assert dns.asked == [("_dmarc.mail.example.com", "TXT")]


def test_a_name_of_which_dns_does_not_say_whether_it_exists_is_not_taken_for_one_that_does() -> None:
    """RFC 9989 section 5.3.6, DMARC-01: sp or np holds, and nobody knows which; a message that passes does not care."""
    np = ["v=DMARC1; p=reject; sp=none; np=reject"]
    dns = Table({("_dmarc.example.com", "TXT"): np, ("a.example.com", "A"): Status.TIMEOUT})
    assert answered_from(check_dmarc(["a.example.com"], [], []), dns).result == "temperror"
    assert answered_from(check_dmarc(["a.example.com"], [], ["example.com"]), dns).result == "pass"


COMPANY = ["example.com", "signing.example.com"]
BANK = ["giant.bank.example"]


@pytest.mark.parametrize(
    ("author", "spf", "dkim", "records", "aligned"),
    [
        # B.4.1
        ("example.com", "example.com", "signing.example.com", COMPANY, ("example.com", "signing.example.com")),
        # B.4.2
        ("a.b.c.d.e.f.g.h.i.j.k.example.com", "example.com", "signing.example.com", COMPANY, ("example.com", "signing.example.com")),
        # B.4.3: bank.example is a public suffix
        ("giant.bank.example", "mail.giant.bank.example", "mail.mega.bank.example", BANK, ("mail.giant.bank.example", "")),
    ],
)  # fmt: skip
def test_the_examples_of_the_appendix_come_out_as_they_say(
    author: str, spf: str, dkim: str, records: list[str], aligned: tuple[str, str]
) -> None:
    """C74, C76, RFC 9989 appendix B.4: its three examples."""
    zone: Records = dict.fromkeys(records, REJECT) | {"bank.example": "v=DMARC1; p=none; psd=y"}
    outcome, dns = check(author, zone, spf=[spf], dkim=[dkim])
    assert (outcome.result, (outcome.spf, outcome.dkim)) == ("pass", aligned)
    assert outcome.holder == (author if author in records else "example.com")
    assert ("_dmarc.example", "TXT") not in dns.asked


def test_the_worst_of_several_authors_counts() -> None:
    """C78, RFC 7489 section 6.6.1: an author who is vouched for does not speak for the other."""
    records: Records = {"good.example": "v=DMARC1; p=none", "bank.example": REJECT}
    for authors in ("good.example bank.example", "bank.example good.example"):
        outcome, _ = check(authors, records, dkim=["good.example"])
        assert (outcome.result, outcome.author, outcome.policy) == ("fail", "bank.example", "reject")
    assert check("good.example bank.example", records, dkim=["bank.example", "good.example"])[0].result == "pass"


@pytest.mark.parametrize(
    ("first", "second", "result"),
    [
        # neither an author who asks for nothing, nor one with a broken record, hides one of whom nothing is known or who asks for more
        ("v=DMARC1; p=none", Status.TIMEOUT, "temperror"),
        ("v=DMARC1; p=block", REJECT, "fail"),
        ("v=DMARC1; p=quarantine", Status.TIMEOUT, "fail"),
        ("v=DMARC1; p=block", "v=DMARC1; p=none", "fail"),
        ("v=DMARC1; p=reject; t=y", "v=DMARC1; p=reject", "fail"),
    ],
)
def test_no_author_hides_another(first: str, second: str | Status, result: str) -> None:
    """C78, RFC 9989 section 11.5: the strictest policy of those that fail, in whichever order they stand."""
    records: Records = {"a.example": first, "b.example": second}
    for authors in ("a.example b.example", "b.example a.example"):
        outcome, _ = check(authors, records)
        assert outcome.result == result
        if second == REJECT:
            assert (outcome.author, outcome.policy) == ("b.example", "reject")


def test_authors_without_end_are_not_checked() -> None:
    """C78: beyond MAX_AUTHOR_DOMAINS domains it is permerror, and DNS is not asked."""
    outcome, dns = check(" ".join(f"a{n}.example" for n in range(MAX_AUTHOR_DOMAINS + 1)), {})
    assert (outcome.result, dns.asked) == ("permerror", [])


def test_a_message_asks_dns_a_bounded_number_of_times() -> None:
    """DMARC-01: long names and many signatures share what was asked; another organization's signature costs nothing."""
    below = "a.b.c.d.e.f.g.h.example.com"
    many = [f"x{n}.{below}" for n in range(50)]
    _, dns = check(f"y.{below}", {"example.com": REJECT + "; psd=n"}, dkim=[*many, "other.example"], spf=many)
    assert len(dns.asked) <= 7 + 10
    assert len(set(dns.asked)) == len(dns.asked)
