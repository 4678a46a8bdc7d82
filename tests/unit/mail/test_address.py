"""Addresses and paths (RFC 5321 section 4.1.2), as tables."""

from __future__ import annotations

import pytest

from upesi.mail.address import Address, AddressError, domain_from, quote_local_part

LONG_DOMAIN = ".".join(["d" * 63] * 3)  # 191 octets


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("<>", None),
        ("<a@b>", Address("a", "b")),
        ("<User.Name+tag@Example.COM>", Address("User.Name+tag", "example.com")),
        ("<u%other@local.example>", Address("u%other", "local.example")),
        ("<other!u@local.example>", Address("other!u", "local.example")),
        ("<=?utf-8?q?a=40evil=3e?=@local.example>", Address("=?utf-8?q?a=40evil=3e?=", "local.example")),
        ("<@one.example:u@b.example>", Address("u", "b.example")),
        ("<@one.example,@two.example:u@b.example>", Address("u", "b.example")),
        ('<"a"@b>', Address("a", "b")),
        ('<"a b"@b>', Address("a b", "b")),
        ('<"a\\"b"@b>', Address('a"b', "b")),
        ('<"\\<"@b>', Address("<", "b")),
        ('<"u@other"@local.example>', Address("u@other", "local.example")),
        ("<u@[192.0.2.1]>", Address("u", "[192.0.2.1]")),
        ("<u@[IPv6:2001:DB8:0::1]>", Address("u", "[IPv6:2001:db8::1]")),
        ("<u@[ipv6:::1]>", Address("u", "[IPv6:::1]")),
        ("<u@1.example>", Address("u", "1.example")),
        ("<u@a.b1>", Address("u", "a.b1")),
        ("<u@xn--bcher-kva.example>", Address("u", "xn--bcher-kva.example")),
        (f"<{'l' * 64}@b>", Address("l" * 64, "b")),
        (f"<u@{'d' * 63}.example>", Address("u", "d" * 63 + ".example")),
        (f"<{'l' * 58}@{LONG_DOMAIN}.ab>", Address("l" * 58, LONG_DOMAIN + ".ab")),
    ],
)
def test_path_is_read(path: str, address: Address | None) -> None:
    """ADR-01 to ADR-07, ADR-09, C03, C27: taken literally; routes dropped; case of the local part kept, of the domain not."""
    assert Address.parse_path(path) == address


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a@b",
        "<a@b",
        "a@b>",
        "<a>",
        "<@b>",
        "<a@>",
        "<.u@b>",
        "<u.@b>",
        "<u..x@b>",
        "<u@.d>",
        "<u@d.>",
        "<u@-d>",
        "<u@d->",
        "<u@d_>",
        "<u@a..b>",
        "<u@127.0.0.1>",
        "<u@0x7f.1>",
        "<u@[1.2.3.256]>",
        "<u@[0x7f.1]>",
        "<u@[IPv6:::g]>",
        "<u@[127.0.0.1>",
        "<u@local@other>",
        '<"u@other">',
        '<""@b>',
        '<"a@b>',
        '<a"b"@b>',
        '<"a"b@b>',
        "<a b@c>",
        "<a(comment)@b>",
        "<a@b>x",
        "<<a@b>>",
        "<@one.example u@b>",
        "<caf\u00e9@b>",
        "<a@b\u00fccher.example>",
        "<a\r\nb@c>",
        "<a@b\n>",
        "<a\0@b>",
        f"<{'l' * 65}@b>",
        f"<u@{'d' * 64}.example>",
        f"<{'l' * 64}@{LONG_DOMAIN}>",
        f'<"{"l" * 64}"@b>',
        "<" + "x" * 600 + "@b>",
    ],
)
def test_what_is_no_path_is_refused(path: str) -> None:
    """ADR-03 to ADR-07: grammar, literals, and the lengths of RFC 5321 section 4.5.3.1."""
    with pytest.raises(AddressError):
        Address.parse_path(path)


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("<caf\u00e9@b.example>", Address("caf\u00e9", "b.example")),
        ('<"caf\u00e9 x"@b.example>', Address("caf\u00e9 x", "b.example")),
        ("<u@b\u00fccher.example>", Address("u", "xn--bcher-kva.example")),
        ("<u@B\u00dcCHER.example>", Address("u", "xn--bcher-kva.example")),
        ("<\u7528\u6237@b.example>", Address("\u7528\u6237", "b.example")),
    ],
)
def test_internationalized_path_is_read_where_it_may_stand(path: str, address: Address) -> None:
    """ADR-13, RFC 6531 section 3.3: U-labels become A-labels, local parts stay as they are."""
    assert Address.parse_path(path, utf8=True) == address


@pytest.mark.parametrize(
    "path",
    [
        "<u\uff20b.example>",
        "<a\u202eb@c>",
        "<a\u2028b@c>",
        "<a\u0085b@c>",
        "<a\u00a0b@c>",
        "<a\u3000b@c>",
        "<u@a\u2066b.example>",
        "<u@xn--\u00e9.example>",
        "<u@a\u3002b\u00fc.example>",
        "<u@a\uff0eb.example>",
        f"<{chr(0xE9) * 33}@b>",
    ],
)
def test_what_is_not_valid_with_utf8_is_refused(path: str) -> None:
    """ADR-13, CMD-07: full-width signs separate nothing; controls, spaces and overrides stay out; octets count, not characters."""
    with pytest.raises(AddressError):
        Address.parse_path(path, utf8=True)


@pytest.mark.parametrize(
    ("local", "written"),
    [
        ("a.b", "a.b"),
        ("a b", '"a b"'),
        ('a"b', '"a\\"b"'),
        ("a\\b", '"a\\\\b"'),
        (".a", '".a"'),
        ("", '""'),
        ("caf\u00e9", "caf\u00e9"),
    ],
)
def test_local_part_is_quoted_only_where_it_must_be(local: str, written: str) -> None:
    """C30: and what is written is read back as the same."""
    assert quote_local_part(local) == written
    if local:
        assert Address.parse(str(Address(local, "b.example")), utf8=True) == Address(local, "b.example")


def test_bare_postmaster_is_written_without_domain() -> None:
    """RFC 5321 section 4.5.1."""
    assert str(Address("postmaster", "")) == "postmaster"


def test_key_and_ascii() -> None:
    """The key ignores case; is_ascii tells whether the next hop needs SMTPUTF8."""
    assert Address("Ab", "c.d").key == "ab@c.d"
    assert Address("ab", "c").is_ascii
    assert not Address("\u00e9", "c").is_ascii


@pytest.mark.parametrize(
    "text", ["", "a_b", "a.", "a" * 64, "1.2.3.4", "[x]", "[IPv6:1]", ".".join(["d" * 60] * 5), "a b"]
)
def test_what_is_no_domain_is_refused(text: str) -> None:
    """RFC 5321 section 4.1.2, RFC 1035 section 2.3.4."""
    with pytest.raises(AddressError):
        domain_from(text)


def test_long_input_costs_no_more_than_its_length() -> None:
    """No expression backtracks: a megabyte that is no domain is refused at once."""
    for text in ("a-" * 500_000 + "!", "a" * 1_000_000 + "!", "a." * 500_000):
        with pytest.raises(AddressError):
            domain_from(text)
