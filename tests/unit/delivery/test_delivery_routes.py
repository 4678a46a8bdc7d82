"""The configured routes, and the folders of mailboxes."""

from __future__ import annotations

import os.path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upesi.config.settings import DeliverySettings, RouteSettings
from upesi.delivery.mailboxes import folder_name
from upesi.delivery.routes import RouteError, RouteTable
from upesi.mail.address import Address
from upesi.mail.route import DiscardRoute, HostRoute, LmtpRoute, MaildirRoute, MxRoute


def table(*entries, smarthost=""):
    routes = [RouteSettings(domains=tuple(domains), to=to) for domains, to in entries]
    return RouteTable(routes, DeliverySettings(smarthost=smarthost), "Us.Test")


def route(address, *entries, **options):
    return table(*entries, **options).route_for(Address.parse(address))


@pytest.mark.parametrize(("to", "expected"), [
    ("mx", MxRoute("x.test")),
    ("smtp://relay.test", HostRoute("relay.test", 25)),
    ("smtp://Relay.test:587", HostRoute("relay.test", 587)),
    ("smtp://127.0.0.1:2603", HostRoute("127.0.0.1", 2603)),
    ("smtp://[2001:db8::1]:26", HostRoute("2001:db8::1", 26)),
    ("smtp://[2001:db8::1]", HostRoute("2001:db8::1", 25)),
    ("lmtp://dovecot.test:24", LmtpRoute("dovecot.test", 24)),
    ("lmtp:///run/dovecot/lmtp", LmtpRoute("/run/dovecot/lmtp", 0)),
    ("maildir:/var/mail", MaildirRoute("/var/mail/joe")),
    ("discard", DiscardRoute()),
])  # fmt: skip
def test_every_kind_of_route(to, expected):
    """Each form of `to`."""
    assert route("Joe@x.test", (["x.test"], to)) == expected


def test_first_match_wins():
    """Exact, suffix and everything are equal in rank: the order of the entries decides."""
    entries = (
        (["x.test"], "discard"),
        ([".x.test"], "smtp://a.test"),
        (["*"], "smtp://b.test"),
        (["y.test"], "smtp://c.test"),
    )
    assert route("a@x.test", *entries) == DiscardRoute()
    assert route("a@b.c.x.test", *entries) == HostRoute("a.test", 25)
    assert route("a@xx.test", *entries) == HostRoute("b.test", 25)
    assert route("a@y.test", *entries) == HostRoute("b.test", 25)
    assert route("a@[192.0.2.1]", *entries) == HostRoute("b.test", 25)


def test_without_a_match_mail_goes_to_the_smarthost_or_by_mx():
    """`delivery.smarthost` is for everything without a route of its own."""
    assert route("a@x.test") == MxRoute("x.test")
    assert route("a@x.test", smarthost="smtp://s.test") == HostRoute("s.test", 25)
    assert route("a@y.test", (["x.test"], "discard"), smarthost="smtp://s.test") == HostRoute("s.test", 25)
    assert route("a@x.test", (["x.test"], "mx"), smarthost="smtp://s.test") == MxRoute("x.test")


def test_bare_postmaster_is_ours():
    """RFC 5321 section 4.5.1: it has no domain, and belongs to this server."""
    bare = Address("postmaster", "")
    assert table((["us.test"], "discard")).route_for(bare) == DiscardRoute()
    assert table().route_for(bare) == MxRoute("us.test")


@pytest.mark.parametrize(("to", "hint"), [
    ("smpt://x.test", "did you mean smtp://HOST:PORT?"), ("Maildir:/x", "did you mean maildir:FOLDER?"), ("", "write one of mx"),
    ("xyzzy", "write one of"),
    ("http://x", "use https"), ("https://u:p@x/", "a password in it"),
    ("lmtp://x.test", "port is missing"), ("lmtp://x.test:25", "never spoken on port 25"),
    ("smtp://", "write smtp"),
    ("smtp:x.test", '"//" is missing'), ("smtp://x.test:0", "port"), ("smtp://a b", "not valid"), ("mx:x", "nothing may follow"),
    ("maildir:", "folder is missing"), ("discard:", None), ("smtp://x.test:99999", "port"),
])  # fmt: skip
def test_mistakes_are_found_at_once_and_named(to, hint):
    """A bad route raises with its key and what would be right."""
    if hint is None:
        assert route("a@x.test", (["x.test"], to)) == DiscardRoute()
        return
    with pytest.raises(RouteError) as caught:
        table((["y.test"], "mx"), (["x.test"], to))
    assert str(caught.value).startswith("route[1].to:")
    assert hint in str(caught.value)


def test_mistakes_in_domains_and_smarthost():
    """The key names the place."""
    with pytest.raises(RouteError, match=r"^route\[0\]\.domains: .*example\.com"):
        table((["*.x.test"], "mx"))
    with pytest.raises(RouteError, match=r"^delivery\.smarthost: .*smtp://HOST:PORT"):
        table(smarthost="maildir:/x")


@pytest.mark.parametrize(("local", "name"), [
    ("joe", "joe"), ("Joe.Doe", "joe.doe"), ("u+a+b", "u+a+b"), ("u+a/b", "u+a%2fb"), ("..", "%2e%2e"), (".", "%2e"),
    ("../../etc/passwd", "%2e.%2f..%2fetc%2fpasswd"), ("a.", "a%2e"), (".a", "%2ea"), ("a%2fb", "a%252fb"),
    ("j\u00f6", "j%c3%b6"), ("a\0b", "a%00b"),
    ("con", "con"), ("a b", "a%20b"),
])  # fmt: skip
def test_folder_of_a_local_part(local, name):
    """ADR-11, ADR-18: literal where that is safe, percent-encoded elsewhere."""
    assert folder_name(local) == name


@given(st.text(min_size=1, max_size=300))
def test_no_folder_leaves_the_root(local):
    """ADR-11: whatever the local part, its folder is one name directly below the root, and fits a file name."""
    name = folder_name(local)
    assert os.path.dirname(os.path.normpath(os.path.join("/root", name))) == "/root"
    assert not name.startswith(".")
    assert 0 < len(name.encode()) <= 255


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_different_mailboxes_have_different_folders(one, other):
    """Two local parts share a folder only if they differ in case alone."""
    assert (folder_name(one) == folder_name(other)) is (one.lower() == other.lower())
