"""Lists in DNS: names to ask, answers, and whether a list is believed."""

from __future__ import annotations

import pytest

from upesi.mail.answers import Answer, Status
from upesi.mailauth.dnsxl import MAX_TEXT, ListHealth, ListZone, code_patterns, list_query, said_by, zone_text

NONE = Answer(Status.NXDOMAIN)
REFUSALS = code_patterns({"127.255.255.*": ""})
ANY = ListZone("bl.example", (), REFUSALS)


def answer(*codes: str) -> Answer:
    return Answer(Status.OK, texts=codes)


@pytest.mark.parametrize(
    ("subject", "name"),
    [
        ("192.0.2.99", "99.2.0.192.bl.example"),
        ("2001:db8:1:2:3:4:567:89ab", "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example"),
        ("mail.example.com", "mail.example.com.bl.example"),
        ("a." * 125 + "a", None),
        ("", None),
    ],
)
def test_addresses_are_asked_about_backwards_and_names_as_they_are(subject: str, name: str | None) -> None:
    """C105, RFC 5782 sections 2.1, 2.4 and 3.1: its own examples; what is longer than a name can be is not asked."""
    assert list_query(subject, "bl.example") == name


@pytest.mark.parametrize(
    ("codes", "listed", "believed"),
    [
        (["127.0.0.2"], ["127.0.0.2"], True),
        (["127.0.0.2", "127.0.0.9"], ["127.0.0.2", "127.0.0.9"], True),
        (["127.200.1.2"], ["127.200.1.2"], True),
        (["127.0.0.1"], [], False),
        (["198.51.100.1"], [], False),
        (["127.0.0.2", "198.51.100.1"], [], False),
        (["127.255.255.252"], [], False),
        (["127.255.255.254"], [], False),
        (["127.255.255.255"], [], False),
        (["x\r\ny"], [], False),
        ([], [], True),
    ],
)
def test_only_answers_in_127_are_listings(codes: list[str], listed: list[str], believed: bool) -> None:
    """C105, DNS-05: other addresses, 127.0.0.1 and refusals (127.255.255.x) are no listing, and the list is not believed."""
    found, why = said_by(ANY, answer(*codes))
    assert list(found) == listed
    assert (not why) is believed
    assert why.isprintable()


@pytest.mark.parametrize("status", [Status.NXDOMAIN, Status.NODATA, Status.SERVFAIL, Status.TIMEOUT])
def test_no_answer_is_no_listing(status: Status) -> None:
    """C105: temporary trouble lists nobody."""
    assert said_by(ANY, Answer(status)) == ((), "")


def test_codes_mean_what_the_configuration_says() -> None:
    """C105: single codes, ranges and stars; with a table, what is not in it is no listing."""
    zone = ListZone(
        "wl.example", code_patterns({"127.0.0.4-7": "spam", "127.0.*.3": "high", "127.0.0.2": ""}), REFUSALS
    )
    assert [zone.meaning(f"127.0.{code}") for code in ("0.4", "0.7", "5.3", "0.2")] == ["spam", "spam", "high", ""]
    assert [zone.meaning(f"127.0.{code}") for code in ("0.8", "5.2", "0.1")] == [None, None, None]


@pytest.mark.parametrize(
    "code", ["", "127.0.0", "127.0.0.256", "127.0.0.7-4", "128.0.0.2", "127.0.0.x", "127.0.0.-1", "*.0.0.2"]
)
def test_a_slip_in_a_code_is_found(code: str) -> None:
    """A list that is asked and never understood would be no list."""
    with pytest.raises(ValueError, match=r"127|number"):
        code_patterns({code: "x"})


@pytest.mark.parametrize(
    ("listed", "unlisted", "believed"),
    [
        (answer("127.0.0.2"), NONE, True),
        (answer("127.0.0.2"), answer("127.0.0.2"), False),
        (NONE, NONE, False),
        (answer("127.255.255.254"), NONE, False),
        (answer("198.51.100.1"), answer("198.51.100.1"), False),
        (Answer(Status.TIMEOUT), NONE, True),
        (answer("127.0.0.2"), Answer(Status.SERVFAIL), True),
    ],
)
def test_a_list_must_have_the_one_and_not_the_other(listed: Answer, unlisted: Answer, believed: bool) -> None:
    """C105, RFC 5782 section 5: 127.0.0.2 is listed and 127.0.0.1 is not; silence changes nothing."""
    health = ListHealth(3600, 600)
    health.tested(ANY, listed, unlisted, 0.0)
    assert (not health.why) is believed


def test_a_list_that_lied_is_believed_again_when_it_passes() -> None:
    """DNS-05: not asked meanwhile, tested again soon, and the operator hears of each change once."""
    health = ListHealth(3600, 600)
    assert health.due(0)
    assert health.tested(ANY, answer("127.0.0.2"), NONE, 0) is False
    assert not health.due(3599)
    assert health.due(3600)
    assert health.suspect("it lies", 100) is True
    assert health.suspect("it lies", 101) is False
    assert not health.due(700)
    assert health.due(701)
    assert health.tested(ANY, answer("127.0.0.2"), answer("127.0.0.2"), 701) is False
    assert health.tested(ANY, answer("127.0.0.2"), NONE, 1400) is True
    assert health.why == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("https://bl.example/?ip=192.0.2.1", "https://bl.example/?ip=192.0.2.1"),
        ("one\r\n250 OK\r\ntwo", "one 250 OK two"),
        ("\x00\x1b[31mred\xff", "[31mred"),
        ("  ", ""),
        ("x" * 70_000, "x" * MAX_TEXT),
    ],
)
def test_a_lists_own_words_fit_into_a_reply(text: str, shown: str) -> None:
    """PLG-06: no CR LF, no control character, no more than a line."""
    assert zone_text(Answer(Status.OK, texts=(text,))) == shown
    assert zone_text(Answer(Status.TIMEOUT)) == ""
