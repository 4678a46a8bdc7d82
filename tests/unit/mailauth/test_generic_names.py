"""Names that a provider gives to everybody."""

from __future__ import annotations

import pytest

from upesi.mailauth.generic_names import looks_generic, same_site

GENERIC = [
    ("192-0-2-1.example.com", "192.0.2.1"),
    ("1.2.0.192.dsl.example.com", "192.0.2.1"),
    ("host192.000.002.001.example.com", "192.0.2.1"),
    ("ip-192000002001.example.com", "192.0.2.1"),
    ("c0000201.example.com", "192.0.2.1"),
    ("p0-2-1.example.com", "192.0.2.1"),
    ("Static-192-0-2-1.example.com", "192.0.2.1"),
    ("pool7.example.com", "192.0.2.1"),
    ("a.DHCP.example.com", "192.0.2.1"),
    ("x-dynamic-4.example.com", "192.0.2.1"),
    ("2001-db8--1.example.com", "2001:db8::1"),
    ("2001-0db8-0000-0000-0000-0000-0000-0001.example.com", "2001:db8::1"),
    (f"1{'.0' * 23}.8.b.d.0.1.0.0.2.example.com", "2001:db8::1"),
]
OWN = [
    ("mail.example.com", "192.0.2.1"),
    ("mx1.example.com", "192.0.2.1"),
    ("mx-2-1.example.com", "192.0.2.1"),
    ("static-17.dsl.example.com", "192.0.2.1"),
    ("mail.dsl.example", "192.0.2.1"),
    ("carpool.example.com", "192.0.2.1"),
    ("mail.pool.co.uk", "192.0.2.1"),
    ("mail.example.com", "2001:db8::1"),
    ("mail.example.com", "unix"),
    ("9" * 5000, "192.0.2.1"),
]


@pytest.mark.parametrize(("name", "address"), GENERIC)
def test_the_address_or_a_word_gives_it_away(name: str, address: str) -> None:
    """Three octets of the address in a row, in either order and any notation, or a word for those that come and go."""
    assert looks_generic(name, address)


@pytest.mark.parametrize(("name", "address"), OWN)
def test_a_name_of_its_own_is_not_generic(name: str, address: str) -> None:
    """Numbers alone say nothing; nor does the name of the site; "static" speaks against the words."""
    assert not looks_generic(name, address)


def test_sites_are_the_last_labels() -> None:
    """Two labels, three behind a short one: as far as names alone can say."""
    assert same_site("mail.Example.com", "example.com.")
    assert same_site("a.example.co.uk", "b.example.co.uk")
    assert not same_site("a.example.co.uk", "b.other.co.uk")
    assert not same_site("example.com", "example.org")
