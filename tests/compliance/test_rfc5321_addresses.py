"""RFC 5321 sections 4.1.1.3, 4.1.2, 4.1.3 and 4.5.3.1: which addresses are taken. Each docstring quotes or names the clause."""

from __future__ import annotations

import pytest
from tests.scenarios.acceptor import codes, in_transaction

from upesi.protocol.smtp.events import RcptCommand

LABEL = "l" * 63


def answer(path: str) -> str:
    """The first line of the reply to RCPT."""
    return in_transaction().feed(f"RCPT TO:{path}\r\n".encode()).decode()


def taken(path: str) -> str | None:
    """The mailbox that a path is read as; None if it is refused."""
    acceptor = in_transaction()
    if codes(acceptor.feed(f"RCPT TO:{path}\r\n".encode())) != [250]:
        return None
    event = acceptor.events[-1]
    assert isinstance(event, RcptCommand)
    return str(event.forward_path)


@pytest.mark.parametrize(
    "mailbox",
    [
        ".u@d.example", "u.@d.example", "u..x@d.example", "u@.d.example", "u@d..example", "u@d.example.", "u@-d.example",
        "u@d-.example", "u@d_e.example", "u@", "@d.example", "u", "u@d.example@d.example",
    ],
)  # fmt: skip
def test_misplaced_dots_hyphens_and_underscores_are_refused(mailbox: str) -> None:
    """ADR-05, 4.1.2: `Dot-string = Atom *("." Atom)`; `sub-domain = Let-dig [Ldh-str]`."""
    assert answer(f"<{mailbox}>").startswith("501 5.1.3 ")


@pytest.mark.parametrize(
    "mailbox", ["u.x@d.example", "u-x@d-e.example", "u_x@d.example", "-u-@d.example", "u@3d.example"]
)
def test_what_only_looks_odd_is_taken(mailbox: str) -> None:
    """ADR-05: the grammar allows these, and refusing them would lose mail."""
    assert taken(f"<{mailbox}>") == mailbox


@pytest.mark.parametrize(
    ("mailbox", "fits"),
    [
        ("l" * 64 + "@d.example", True),
        ("l" * 65 + "@d.example", False),
        ('"' + "l" * 62 + '"@d.example', True),
        ('"' + "l" * 63 + '"@d.example', False),
        (f"u@{LABEL}.example", True),
        (f"u@{LABEL}l.example", False),
        # with its brackets a path of 256 octets, and one of 257
        (f"u@{LABEL}.{LABEL}.{LABEL}." + "d" * 60, True),
        (f"u@{LABEL}.{LABEL}.{LABEL}." + "d" * 61, False),
    ],
)
def test_local_part_label_and_path_have_their_bounds(mailbox: str, fits: bool) -> None:
    """ADR-06, 4.5.3.1.1 to .3: "The maximum total length of a user name or other local-part is 64 octets", "of a reverse-path or
    forward-path is 256 octets (including the punctuation and element separators)"; labels as RFC 1035 section 2.3.4 has them."""
    assert (taken(f"<{mailbox}>") is not None) == fits
    if not fits:
        assert answer(f"<{mailbox}>").startswith("501 5.1.3 ")


@pytest.mark.parametrize(
    ("path", "mailbox"),
    [
        ("<@local.example:u@other.example>", "u@other.example"),
        ("<@a.example,@b.example:u@local.example>", "u@local.example"),
        ("<@[192.0.2.1]:u@local.example>", "u@local.example"),
    ],
)
def test_the_last_mailbox_of_a_source_route_counts(path: str, mailbox: str) -> None:
    """ADR-02, 4.1.1.3: "Receiving systems MUST recognize source route syntax but SHOULD strip off the source route specification and
    utilize the domain name associated with the mailbox as if the source route had not been provided."."""
    assert taken(path) == mailbox


@pytest.mark.parametrize(
    "path", ["<@a.example:>", "<@:u@b.example>", "<@a.example,b.example:u@c.example>", "<@a.example;u@b.example>"]
)
def test_what_only_resembles_a_source_route_is_refused(path: str) -> None:
    """ADR-02, 4.1.2: `A-d-l = At-domain *( "," At-domain )`."""
    assert answer(path).startswith("501 5.1.3 ")


@pytest.mark.parametrize(
    ("path", "mailbox"),
    [
        ('<"u"@d.example>', "u@d.example"),
        (r'<"a\"b"@d.example>', r'"a\"b"@d.example'),
        ('<"a b"@d.example>', '"a b"@d.example'),
        (r'<"\a"@d.example>', "a@d.example"),
        (r'<"\<"@d.example>', '"<"@d.example'),
        ('<"u@other.example"@d.example>', '"u@other.example"@d.example'),
        ("<u%other.example@d.example>", "u%other.example@d.example"),
        ("<other.example!u@d.example>", "other.example!u@d.example"),
        ("<=?utf-8?q?a=40evil=3e?=@d.example>", "=?utf-8?q?a=40evil=3e?=@d.example"),
        ("<'\"'>", None),
        ('<""@d.example>', None),
        ('<"a@d.example>', None),
        ('<"a"b@d.example>', None),
        ('<"u@d.example">', None),
    ],
)
def test_local_parts_are_read_by_the_grammar_and_quoted_where_they_must_be(path: str, mailbox: str | None) -> None:
    """ADR-01, ADR-03, ADR-07, ADR-09, C30, 2.3.11: the local part "MUST be interpreted and assigned semantics only by the host specified in
    the domain part of the address"; 4.1.2: a quoted string that need not be quoted means the same unquoted."""
    assert taken(path) == mailbox


@pytest.mark.parametrize(
    ("literal", "read"),
    [
        ("[192.0.2.1]", "[192.0.2.1]"),
        ("[IPv6:2001:DB8:0::1]", "[IPv6:2001:db8::1]"),
        ("[0x7f.1]", None),
        ("[127.1]", None),
        ("[1.2.3.256]", None),
        ("[1.2.3]", None),
        ("[::1]", None),
        ("[IPv6:1.2.3.4]", None),
        ("[IPv6::::1]", None),
        ("[1.2.3.4", None),
        ("192.0.2.1", None),
        ("[192.0.2.1].example", None),
    ],
)
def test_address_literals_are_read_strictly(literal: str, read: str | None) -> None:
    """ADR-04, 4.1.3: `IPv4-address-literal = Snum 3("." Snum)`, `IPv6-address-literal = "IPv6:" IPv6-addr`; every number in decimal."""
    assert taken(f"<u@{literal}>") == (f"u@{read}" if read else None)
