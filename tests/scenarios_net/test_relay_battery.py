"""Hostile addresses against a real server: strangers relay nothing, tables see plain text, no file is made where none may be.

The clients are strangers: they come from outside the relay networks (`world.py`).
"""

from __future__ import annotations

import itertools
import time
from pathlib import Path

import pytest

from integration.server import PATIENCE
from scenarios_net.next_hop import NextHop
from scenarios_net.wire import SocketEndpoint
from scenarios_net.world import ScenarioServer, have_ipv6

LISTENERS = ["smtp", *(["smtp6"] if have_ipv6() else []), "lmtp"]

# Each would reach evil.example, or this machine, if somebody read more into it than the grammar does. test.example is ours
TRICKS = [
    "<victim@evil.example>",
    "<victim@EVIL.example>",
    "<postmaster@evil.example>",
    "<abuse@evil.example>",
    # ADR-01 to ADR-03
    "<victim%evil.example@test.example>",
    "<victim%evil.example%test.example@test.example>",
    "<postmaster%evil.example>",
    "<@test.example:victim@evil.example>",
    "<@test.example,@test.example:victim@evil.example>",
    "<@test.example:victim%evil.example@test.example>",
    "<@evil.example:victim@evil.example>",
    "<evil.example!victim@test.example>",
    "<evil.example!victim>",
    "<test.example!evil.example!victim>",
    "<victim@evil.example@test.example>",
    "<victim@test.example@evil.example>",
    '<"victim@evil.example"@test.example>',
    '<"victim@evil.example">',
    '<"victim%evil.example"@test.example>',
    '<"victim@evil.example"%test.example>',
    r'<"victim\@evil.example"@test.example>',
    "<victim@evil.example;b@test.example>",
    "<victim@evil.example,b@test.example>",
    "<b@test.example,victim@evil.example>",
    "<b@test.example>,<victim@evil.example>",
    "<b@test.example> <victim@evil.example>",
    "<b@test.example victim@evil.example>",
    "b@test.example, victim@evil.example",
    "<victim@evil.example> ORCPT=rfc822;b@test.example",
    "<b@test.example\nvictim@evil.example>",
    "<b@test.example\0victim@evil.example>",
    "<b@test.example\r>\r<victim@evil.example>",
    # ADR-04
    "<victim@[127.0.0.1]>",
    "<victim@[127.0.0.2]>",
    "<victim@[IPv6:::1]>",
    "<victim@[IPv6:::ffff:127.0.0.1]>",
    "<victim@[192.0.2.25]>",
    "<victim@[0x7f.1]>",
    "<victim@[1.2.3.256]>",
    "<victim@127.0.0.1>",
    "<victim@[test.example]>",
    "<victim@localhost>",
    # ADR-05 to ADR-07
    "<victim@evil.example.>",
    "<victim@test.example.evil.example>",
    "<b@test.example.>",
    "<b@.test.example>",
    "<b@sub.test.example>",
    "<b@xtest.example>",
    "<.b@test.example>",
    "<b.@test.example>",
    f"<{'b' * 65}@test.example>",
    '<""@test.example>',
    '<"b@test.example>',
    # ADR-09, ADR-10, ADR-12
    "<=?utf-8?q?victim=40evil.example=3e?=@test.example>",
    "<=?utf-8?q?b?=@test.example>",
    "<b'--@test.example>",
    "<b'/**/or/**/'1'='1@test.example>",
    "<\"x' UNION SELECT 'b@test.example\"@test.example>",
    '<"*)(uid=*"@test.example>',
    "<*@test.example>",
    "<${b}@test.example>",
    "<$(id)@test.example>",
    "<{{7*7}}@test.example>",
    "<%n%n@test.example>",
    "<|id@test.example>",
    '<"| id"@test.example>',
    "<-oQ/tmp@test.example>",
    "<-froot@test.example>",
    # ADR-11, ADR-18
    "<../../etc/passwd@test.example>",
    "<b/../c@test.example>",
    "<x+b@test.example>",
    "<+b@test.example>",
    # ADR-13, with and without SMTPUTF8
    "<victim＠evil.example@test.example>",
    "<victim@evil．example>",
    "<b@tеst.example>",
    "<b@test。example>",
    "<ｂ@test.example>",
    "<b@xn--tst-vmd.example>",
    "<b@xn--a>",
]
SENDERS = [
    "<>",
    "<a@evil.example>",
    "<b@test.example>",
    "<postmaster@test.example>",
    "<@test.example:a@evil.example>",
    "<root@[127.0.0.1]>",
]
HELLO = {"smtp": "EHLO", "smtp6": "EHLO", "lmtp": "LHLO"}


@pytest.mark.parametrize("listener", LISTENERS)
def test_strangers_relay_nothing(listener: str, real_server: ScenarioServer, text_hop: NextHop) -> None:
    """ADR-16, C27, and with it ADR-01..07, ADR-09..13, ADR-18: of all these tricks none is accepted from anybody, nothing arrives."""
    accepted = []
    for sender, smtputf8 in itertools.product(SENDERS, ("", " SMTPUTF8")):
        with SocketEndpoint(real_server.address[listener], text_hop) as client:
            assert client.reply().startswith("220 ")  # type: ignore[union-attr]
            assert client.say(f"{HELLO[listener]} localhost").startswith("250")
            for trick in TRICKS:
                assert client.say(f"MAIL FROM:{sender}{smtputf8}").startswith("250 ")
                reply = client.say(f"RCPT TO:{trick}")
                # a bare LF makes its line and the one behind it unbelievable: that one has a reply too
                if "\n" in trick:
                    reply = max(reply, client.reply() or "")
                if not reply.startswith("5"):
                    accepted.append((sender, trick, reply))
                assert client.say("DATA")[:3] in ("503", "554")
                assert client.say("RSET").startswith("250 ")
    assert accepted == []
    with SocketEndpoint(real_server.address["smtp"], text_hop) as client:
        _deliver(client, "<b@test.example>")
    # the one that may come in has come out, and nothing of the others
    assert client.arrived().forward_paths == ("b@test.example",)
    assert not [name for name in text_hop.names() if "evil" in name or "victim" in name]


def _deliver(
    client: SocketEndpoint, *paths: str, sender: str = "<a@client.example>", content: bytes = b"x: y\r\n"
) -> list[str]:
    """Send one message; return the replies to its RCPT commands."""
    client.reply()
    client.say("EHLO client.example")
    client.say(f"MAIL FROM:{sender}")
    replies = [client.say(f"RCPT TO:{path}") for path in paths]
    if any(reply.startswith("2") for reply in replies):
        assert client.say("DATA").startswith("354 ")
        assert client.say(content + b".").startswith("250 ")
    return replies


HOSTILE = [
    "'\"--;${7*7}{{7*7}}%n$(id)",
    "| cmd",
    "x'/**/UNION/**/SELECT",
    "*)(objectClass=*",
    "\\",
    "a\\b\"c",
    "-oQ/tmp",
    "../../etc/passwd",
    "a b\tc".replace("\t", " "),
    "=?utf-8?q?a=40evil=3e?=",
    "u%evil.example",
]  # fmt: skip


@pytest.mark.parametrize("local", HOSTILE)
def test_hostile_senders_arrive_as_they_are(local: str, real_server: ScenarioServer, text_hop: NextHop) -> None:
    """ADR-03, ADR-07, ADR-10: a sender is text, whatever it looks like; it is quoted again where it must be, and nothing else is done."""
    quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
    with SocketEndpoint(real_server.address["smtp"], text_hop) as client:
        assert _deliver(client, "<b@test.example>", sender=f"<{quoted}@client.example>")[0].startswith("250 ")
    path = client.arrived().reverse_path
    assert path in (f"{quoted}@client.example", f"{local}@client.example")


FOLDERS = [
    "../../escape", "../escape", "..", ".", "/", "/escape", "a/../../escape", "a/b", "~root", "~", "con", "nul", "-oQ/escape", "|escape",
    "u+a+b", "u+a/../../escape", "+", "u+" + "t" * 62, "esc\\ape", "..\\..\\escape", "%2e%2e%2fescape", "new", "cur", "tmp", ".ssh",
    "*", "?", "$HOME", "`id`", "a b", ":2,S", "UPPER", "upper",
]  # fmt: skip


def _files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if "spool" not in path.parts}


def test_no_address_leaves_the_mail_folder(real_server: ScenarioServer, text_hop: NextHop) -> None:
    """ADR-11, ADR-18: whatever the local part, its mail is one file in new/ of one folder right below the root; nothing else is made."""
    outside = _files(real_server.folder) - _files(real_server.mail)
    above = set(real_server.folder.parent.iterdir())
    taken = []
    for local in FOLDERS:
        quoted = '"' + local.replace("\\", "\\\\").replace('"', '\\"') + '"'
        with SocketEndpoint(real_server.address["smtp"], text_hop) as client:
            replies = _deliver(client, f"<{quoted}@folder.example>", content=f"Subject: {local}\r\n".encode())
            assert replies[0][:3] in ("250", "501"), (local, replies)
            taken += [local] if replies[0].startswith("250") else []
    assert len(taken) > len(FOLDERS) - 3
    mail = real_server.mail
    end = time.monotonic() + PATIENCE
    while len(files := list(mail.glob("*/new/*"))) < len(taken):
        assert time.monotonic() < end, f"{len(files)} of {len(taken)} files"
        time.sleep(0.02)
    files = [path for path in mail.rglob("*") if path.is_file()]
    assert len(files) == len(taken)
    for path in files:
        assert path.relative_to(mail).parts[1:-1] == ("new",), path
    assert {path.parent.parent.parent for path in files} == {mail}
    after = {name for name in _files(real_server.folder) if not name.startswith("mail")}
    assert after == {name for name in outside if not name.startswith("mail")}
    assert set(real_server.folder.parent.iterdir()) == above
    assert not list(Path("/").glob("escape*"))
    # case is folded here; otherwise nobody reads somebody else's mail
    assert len({path.parts[-3] for path in files}) == len({local.lower() for local in taken})


@pytest.mark.parametrize("alias", ["circle", "round", "about", "deep0", "deep800", "crowd"])
def test_aliases_without_end_are_refused(alias: str, real_server: ScenarioServer, text_hop: NextHop) -> None:
    """ADR-17: an alias that leads back to itself, too deep or to too many is 554 5.4.6, at once."""
    began = time.monotonic()
    with SocketEndpoint(real_server.address["smtp"], text_hop) as client:
        assert _deliver(client, f"<{alias}@test.example>")[0].startswith("554 5.4.6 ")
    assert time.monotonic() - began < 30


def test_a_list_that_names_itself_delivers_once_to_each(real_server: ScenarioServer, text_hop: NextHop) -> None:
    """ADR-17, RCP-03: "team" holds b, c, d and itself; each gets one copy, also whoever was named beside it."""
    with SocketEndpoint(real_server.address["smtp"], text_hop) as client:
        replies = _deliver(client, "<team@test.example>", "<b@test.example>", "<TEAM@test.example>")
        assert [reply[:3] for reply in replies] == ["250"] * 3
    assert sorted(client.arrived().forward_paths) == [
        "b@test.example",
        "c@test.example",
        "d@test.example",
        "team@test.example",
    ]
