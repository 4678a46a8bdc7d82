"""Names of users inside LDAP filters and distinguished names: nothing that a client types leaves its place."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.lookup.ldap_text import filled


@pytest.mark.parametrize(
    ("user", "text"),
    [
        ("anna@example.org", "(mail=anna@example.org)"),
        ("*", r"(mail=\2a)"),
        ("anna)(uid=*", r"(mail=anna\29\28uid\3d\2a)"),
        ("an\\na", r"(mail=an\5cna)"),
        ("an\0na", r"(mail=an\00na)"),
        ("ann\u00e4", r"(mail=ann\c3\a4)"),
        ("{domain}", r"(mail=\7bdomain\7d)"),
        ("anna,dc=example", r"(mail=anna\2cdc\3dexample)"),
        (" #anna ", r"(mail=\20\23anna\20)"),
    ],
)
def test_what_means_something_to_ldap_is_escaped(user: str, text: str) -> None:
    """ADR-10: RFC 4515 section 3 and RFC 4514 section 2.4 let every octet be written as a backslash and two digits."""
    assert filled("(mail={user})", user) == text


def test_the_parts_of_a_name_have_their_places() -> None:
    """What stands before and behind the last "@"; a name without one is its own local part."""
    pattern = "uid={local_part},ou={domain},cn={user}"
    assert filled(pattern, "a@b@example.org") == "uid=a@b,ou=example.org,cn=a@b@example.org"
    assert filled("uid={local_part},cn={user}", "anna") == "uid=anna,cn=anna"


@pytest.mark.parametrize("user", ["anna", "@example.org", "anna@", "@", ""])
def test_a_name_that_lacks_a_part_is_nobodys(user: str) -> None:
    """An empty value would be no name at all, and an error of the server instead of a no."""
    assert filled("uid={local_part},ou={domain}", user) is None


@given(st.text(max_size=50))
def test_every_name_stays_in_its_place_and_is_itself(user: str) -> None:
    """ADR-10: only letters, digits, `@`, `.`, `_`, `-` and escapes are in it, and unescaped it is what was typed."""
    user = user.encode("utf-8", "ignore").decode()
    text = filled("{user}", user)
    if text is None:
        assert not user
        return
    assert re.fullmatch(r"(?:[A-Za-z0-9@._-]|\\[0-9a-f]{2})*", text)
    octets = re.sub(rb"\\([0-9a-f]{2})", lambda match: bytes.fromhex(match[1].decode()), text.encode())
    assert octets.decode() == user
