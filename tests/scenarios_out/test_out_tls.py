"""TLS on the way out: policies, servers that offer, break or forge it, and what is never sent in clear (TLS-04, TLS-05, OUT-04)."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.unit.client.tls_names import Issuer
from tests.unit.delivery.sendkit import HANG, Close, FakeWork, SmtpServer, agent, attempt, destination

from upesi.client.tls import BROKEN_LIFETIME, HANDSHAKE_TIMEOUT
from upesi.mail.route import LmtpRoute, MxRoute
from upesi.mail.tls import TlsLevel, TlsPolicy
from upesi.scheduler.work import Destination, Ending, Host
from upesi.testkit.loop import run_virtual

NAME = "mx.dest.example"
DOMAIN = "dest.example"
OFFERED = ("PIPELINING", "STARTTLS")
NONE, MAY, ENCRYPT, VERIFY = TlsLevel


@pytest.fixture(scope="session")
def issuer(tmp_path_factory: pytest.TempPathFactory) -> Issuer:
    """The authority that verifying policies trust."""
    return Issuer(tmp_path_factory.mktemp("issuer"))


@pytest.fixture(scope="session")
def good(issuer: Issuer) -> ssl.SSLContext:
    """The server that everybody wants."""
    return issuer.server(NAME)


class Out:
    """One agent that remembers, towards one server; a connection for each `send`."""

    def __init__(self, server: SmtpServer, *, requiretls: bool = False, **policy: object) -> None:
        self.server = server
        self.requiretls = requiretls
        self.events: list[dict[str, object]] = []
        self.policy = TlsPolicy(**policy)  # type: ignore[arg-type]
        self.sender = agent(lambda name, fields: self.events.append({"event": name, **fields}))

    async def send(self, *attempts, **host) -> FakeWork:
        fields = {"addresses": ("127.0.0.1",), "private": True, "domain": DOMAIN, "tls": self.policy} | host
        route = MxRoute(DOMAIN, requiretls=self.requiretls)
        hosts = (Host(NAME, self.server.port, **fields),)
        work = FakeWork(Destination("mx:x", route, hosts), *(attempts or (attempt(),)))
        self.sender.start(work)
        await asyncio.wait_for(work.end.wait(), 100_000)
        return work


def once(server: SmtpServer, *attempts, **policy) -> tuple[FakeWork, Out]:
    """Send over one connection."""

    async def scenario():
        async with server:
            out = Out(server, **policy)
            return await out.send(*attempts), out

    return run_virtual(scenario())


def reason(work: FakeWork) -> tuple[str, str, str]:
    """Return why nothing could be sent."""
    ending, outcome = work.ending
    assert ending is Ending.UNREACHABLE
    assert outcome is not None
    return outcome.kind.value, outcome.status, outcome.text


def in_clear(server: SmtpServer) -> list[str]:
    """Return the commands of sessions without TLS that say anything about mail or us."""
    assert all(session.tls is None for session in server.sessions)
    return [line for line in server.commands if line.split(" ")[0] not in ("EHLO", "STARTTLS", "QUIT")]


def test_starttls_is_used_where_it_is_offered(good):
    """RFC 7435: with policy "may" the mail goes inside TLS, whoever the server is; the outcome says how."""
    server = SmtpServer(keywords=OFFERED, tls=good)
    work, out = once(server, attempt(), attempt())
    assert work.kinds == ["delivered", "delivered"]
    assert server.commands[:3] == ["EHLO client.example.org", "STARTTLS", "EHLO client.example.org"]
    assert server.sessions[0].tls.version() == "TLSv1.3"
    assert work.first.tls.startswith("TLSv1.3 TLS_")
    assert work.first.tls.endswith(" unverified")
    assert not out.events


def test_plaintext_where_starttls_is_not_offered():
    """RFC 7435: "may" sends in clear then, and says so by saying nothing of TLS."""
    work, out = once(SmtpServer())
    assert (work.kinds, work.first.tls, out.events) == (["delivered"], "", [])


def test_policy_none_never_asks(good):
    """A destination whose TLS is known to be broken is left in clear."""
    server = SmtpServer(keywords=OFFERED, tls=good)
    work, _ = once(server, level=NONE)
    assert work.kinds == ["delivered"]
    assert "STARTTLS" not in server.commands


@pytest.mark.parametrize("level", [ENCRYPT, VERIFY])
@pytest.mark.parametrize(
    ("keywords", "replies", "words"),
    [
        ((), {}, "does not offer it"),
        (("STARTTLS",), {"STARTTLS": b"454 4.7.0 later\r\n"}, "STARTTLS was answered 454"),
        (("STARTTLS",), {"STARTTLS": b"502 5.5.1 what\r\n"}, "STARTTLS was answered 502"),
        (("STARTTLS",), {"STARTTLS": Close()}, "connection lost at STARTTLS"),
        (("STARTTLS",), {"STARTTLS": Close(b"220 go\r\n")}, "TLS handshake"),
    ],
)
def test_nothing_goes_in_clear_where_tls_is_required(level, keywords, replies, words):
    """TLS-05, C48: STARTTLS stripped, refused or broken: the mail waits with 4.7.5, and only EHLO and STARTTLS were said."""
    server = SmtpServer(replies, keywords)
    work, out = once(server, level=level)
    kind, status, text = reason(work)
    assert (kind, status) == ("deferred", "4.7.5")
    assert words in text
    assert text.endswith(f'(our own settings require TLS here: "{level.value}")')
    assert in_clear(server) == []
    assert [(event["event"], event["then"]) for event in out.events] == [("site.insecure", "deferred")]


@pytest.mark.parametrize(
    ("replies", "words"),
    [
        ({"STARTTLS": b"454 4.7.0 TLS not available\r\n"}, "454"),
        ({"STARTTLS": b"500 what\r\n"}, "500"),
        ({"STARTTLS": Close()}, "connection lost"),
        ({"STARTTLS": Close(b"220 go\r\n")}, "handshake"),
        (
            {"STARTTLS": b"220 go\r\n"},
            "handshake",
        ),  # and then speaks no TLS: it waits for commands and answers them in clear
    ],
)
def test_failed_tls_leads_to_plaintext_on_a_new_connection_and_is_remembered(replies, words):
    """C48: with "may", and never on the connection whose handshake failed; for an hour nobody waits for that again."""

    async def scenario():
        async with SmtpServer(replies, OFFERED) as server:
            out = Out(server)
            first = await out.send()
            asked = server.commands.count("STARTTLS")
            second = await out.send()
            again = server.commands.count("STARTTLS")
            await asyncio.sleep(BROKEN_LIFETIME)
            third = await out.send()
            return first, second, third, asked, again, server, out

    first, second, third, asked, again, server, out = run_virtual(scenario())
    assert first.kinds == second.kinds == third.kinds == ["delivered"]
    assert first.first.tls == ""
    assert (asked, again, server.commands.count("STARTTLS")) == (1, 1, 2)
    assert len(server.sessions) == 5
    assert [event["then"] for event in out.events] == ["plaintext", "plaintext"]
    assert words in out.events[0]["reason"]


@pytest.mark.parametrize("level", [MAY, ENCRYPT])
def test_handshake_that_hangs_ends_after_thirty_seconds(level):
    """TLS-06 turned round: the server says 220 and nothing more; one deadline holds for the whole handshake."""

    async def silent(reader, writer):
        try:
            writer.write(b"220 x\r\n")
            await reader.readline()
            writer.write(b"250-x\r\n250 STARTTLS\r\n")
            await reader.readline()
            writer.write(b"220 go\r\n")
            # a record header, one octet each ten seconds: dripping does not extend anything
            for octet in b"\x16\x03\x03\x00\x7a" + b"\x02" * 100:
                await asyncio.sleep(10)
                writer.write(bytes((octet,)))
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def scenario():
        server = await asyncio.start_server(silent, "127.0.0.1", 0)
        target = destination(server.sockets[0].getsockname()[1])
        target = Destination(
            target.site, target.route, (Host("127.0.0.1", target.hosts[0].port, private=True, tls=TlsPolicy(level)),)
        )
        async with server:
            work = FakeWork(target, attempt())
            loop = asyncio.get_running_loop()
            begun = loop.time()
            events = []
            agent(lambda name, fields: events.append((loop.time() - begun, dict(fields)))).start(work)
            await asyncio.wait_for(work.end.wait(), 10_000)
            return work, events

    work, events = run_virtual(scenario())
    took, fields = events[0]
    assert HANDSHAKE_TIMEOUT <= took < HANDSHAKE_TIMEOUT + 5
    assert "in time" in fields["reason"]
    assert fields["then"] == ("plaintext" if level is MAY else "deferred")
    assert "delivered" not in work.kinds


INJECTED = [
    b"220 go\r\n250-x\r\n250 8BITMIME\r\n",
    b"220 go\r\n250 2.1.0 ok\r\n250 2.1.5 ok\r\n354 go\r\n250 2.0.0 queued\r\n",
    b"220 go\r\n2",
    b"220-a\r\n220 go\r\n\r\n",
    b"220 go\r\n\x16",
    b"250 ok\r\n",
    b"235 ok\r\n",
    b"354 go\r\n",
]


@pytest.mark.parametrize("level", [MAY, ENCRYPT, VERIFY])
@pytest.mark.parametrize("said", INJECTED)
def test_octets_behind_the_answer_to_starttls_end_the_connection(good, issuer, level, said):
    """TLS-04, C47: replies injected in clear are never taken for answers from inside TLS; that server is left, for that time."""
    server = SmtpServer({"STARTTLS": said}, OFFERED, tls=good)
    authorities = {"authorities": str(issuer.file)} if level is VERIFY else {}
    work, _ = once(server, level=level, **authorities)
    kind, status, text = reason(work)
    assert (kind, status) == ("deferred", "4.4.2")
    assert "TLS handshake" in text or "cannot answer STARTTLS" in text
    assert in_clear(server) == []
    assert not server.delivered


@pytest.mark.parametrize("gap", [0, 1, 5])
def test_reply_injected_later_is_no_part_of_the_handshake(gap):
    """TLS-04: octets in clear in pieces of their own, at any moment after the 220, break the handshake and are never replies."""

    async def injects(reader, writer):
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250 STARTTLS\r\n")
        await reader.readline()
        writer.write(b"220 go\r\n")
        await asyncio.sleep(gap)
        writer.write(b"250-x\r\n250 PIPELINING\r\n250 ok\r\n250 ok\r\n354 go\r\n250 queued\r\n")
        seen.append(await reader.read(100_000))
        writer.close()

    async def scenario():
        server = await asyncio.start_server(injects, "127.0.0.1", 0)
        host = Host("127.0.0.1", server.sockets[0].getsockname()[1], private=True, tls=TlsPolicy(ENCRYPT))
        async with server:
            work = FakeWork(Destination("x", MxRoute("x.test"), (host,)), attempt())
            agent().start(work)
            await asyncio.wait_for(work.end.wait(), 10_000)
            return work

    seen: list[bytes] = []
    work = run_virtual(scenario())
    assert reason(work)[0] == "deferred"
    assert not any(b"MAIL" in octets or b"EHLO" in octets for octets in seen)


def verifying(issuer, *names, **more):
    """Return a policy that wants one of `names`, by default those of the destination."""
    return {"level": VERIFY, "authorities": str(issuer.file), "names": names} | more


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        ((DOMAIN,), ()), ((NAME,), ()), (("*." + DOMAIN,), ()), (("MX.Dest.Example",), ()),
        ((NAME,), ("mx",)), (("other.example", "mx.provider.example"), ("mx.provider.example",)),
        (("a.provider.example",), ("x.example", ".provider.example")), (("*.provider.example",), ("mx.provider.example",)),
    ],
)  # fmt: skip
def test_verified_names(issuer, shown, wanted):
    """RFC 7817, RFC 9525: the next-hop domain or a name below it, or what the policy names; the outcome says that it was verified."""
    work, out = once(SmtpServer(keywords=OFFERED, tls=issuer.server(*shown)), **verifying(issuer, *wanted))
    assert work.kinds == ["delivered"]
    assert work.first.tls.endswith(" verified")
    assert not out.events


@pytest.mark.parametrize(
    ("shown", "wanted"),
    [
        (("other.example",), ()), (("example",), ()), (("dest.example.evil.example",), ()), (("xdest.example",), ()),
        ((NAME,), (DOMAIN,)), (("*.example",), (DOMAIN,)), (("mx.*.example",), ()), (("*",), ()), ((), ()), (("127.0.0.1",), ()),
    ],
)  # fmt: skip
def test_wrong_names_put_off(issuer, shown, wanted):
    """OUT-04, C103: another name, none at all, a common name only, or a wildcard too wide: nothing is sent."""
    server = SmtpServer(keywords=OFFERED, tls=issuer.server(*shown, common=NAME))
    work, _ = once(server, **verifying(issuer, *wanted))
    kind, status, text = reason(work)
    assert (kind, status) == ("deferred", "4.7.5")
    assert "certificate" in text
    assert not any(line.startswith("MAIL") for line in server.commands)


@pytest.mark.parametrize("bad", ["expired", "stranger", "self-signed"])
def test_certificates_that_nobody_vouches_for(issuer, tmp_path: Path, bad):
    """OUT-04: "may" goes on, encrypted and unverified; "verify" puts off and says which kind of wrong it is."""
    contexts = {
        "expired": lambda: issuer.server(NAME, days=-1),
        "stranger": lambda: Issuer(tmp_path, "stranger").server(NAME),
        "self-signed": lambda: Issuer(tmp_path, NAME).server(NAME),
    }
    context = contexts[bad]()
    assert once(SmtpServer(keywords=OFFERED, tls=context))[0].first.tls.endswith(" unverified")
    assert once(SmtpServer(keywords=OFFERED, tls=context), level=ENCRYPT)[0].kinds == ["delivered"]
    server = SmtpServer(keywords=OFFERED, tls=context)
    work, _ = once(server, **verifying(issuer))
    assert reason(work)[:2] == ("deferred", "4.7.5")
    assert ("expired" in reason(work)[2]) is (bad == "expired")
    assert not any(line.startswith("MAIL") for line in server.commands)


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_sessions_are_resumed_with_the_same_peer_under_the_same_policy(issuer, version):
    """A later connection saves the full handshake; a verified session is still verified, and another policy makes its own."""
    context = issuer.server(NAME)
    context.maximum_version = ssl.TLSVersion.TLSv1_2 if version == "TLSv1.2" else ssl.TLSVersion.TLSv1_3

    async def scenario():
        async with SmtpServer(keywords=OFFERED, tls=context) as server:
            out = Out(server, **verifying(issuer))
            works = [await out.send() for _ in range(3)]
            works.append(await out.send(tls=TlsPolicy()))
            # the session is good, but not for a domain that its certificate does not name
            works.append(await out.send(domain="victim.example"))
            return works, server

    works, server = run_virtual(scenario())
    assert [work.first.tls.split()[-1] for work in works[:4]] == ["verified"] * 3 + ["unverified"]
    assert works[0].first.tls.startswith(version)
    assert [session.tls.session_reused for session in server.sessions[:4]] == [False, True, True, False]
    assert reason(works[4])[1] == "4.7.5"


def test_what_was_known_before_tls_is_forgotten(good):
    """C46, OUT-08: PIPELINING, SIZE and CHUNKING that are gone inside TLS are not used; those that are new there are."""
    server = SmtpServer(keywords=("PIPELINING", "CHUNKING", "SIZE 70000", "STARTTLS"), inside=("8BITMIME",), tls=good)
    work, _ = once(server, attempt("b1@x.test", "b2@x.test"), attempt())
    assert work.kinds == ["delivered"] * 3
    assert not any("SIZE" in line or line.startswith("BDAT") for line in server.commands)
    server = SmtpServer(keywords=("STARTTLS",), inside=("CHUNKING", "PIPELINING"), tls=good)
    assert once(server)[0].kinds == ["delivered"]
    assert any(line.startswith("BDAT") for line in server.commands)


def test_starttls_offered_inside_tls_is_not_asked_for(good):
    """C45 turned round: one TLS is enough."""
    server = SmtpServer(keywords=OFFERED, inside=OFFERED, tls=good)
    assert once(server)[0].kinds == ["delivered"]
    assert server.commands.count("STARTTLS") == 1


def test_server_that_refuses_ehlo_inside_tls_is_left(good):
    """RFC 3207 section 4.2: EHLO again; refused there, nothing goes on."""

    def ehlo(session):
        return b"421 4.3.2 not today\r\n" if session.tls else None

    server = SmtpServer({"EHLO": ehlo}, OFFERED, tls=good)
    assert reason(once(server)[0])[0] == "deferred"
    assert not server.delivered


def test_server_that_ends_inside_tls_costs_the_message_that_was_under_way(good):
    """OUT-03 inside TLS: no reply to the end of data is ambiguous, and what was sent ahead was not tried."""
    work, _ = once(SmtpServer({".": Close()}, OFFERED, tls=good), attempt("b@x.test"), attempt("c@x.test"))
    assert work.kinds == ["deferred"]
    assert work.first.text.startswith("ambiguous")
    assert work.first.tls.startswith("TLSv1.3")


def test_large_body_goes_through_tls_whole(good):
    """Records are written as the transport takes them; nothing is lost on the way."""
    body = b"Subject: x\r\n\r\n" + b"".join(b"%0900d\r\n" % n for n in range(3_000))
    server = SmtpServer(keywords=OFFERED, tls=good)
    work, _ = once(server, attempt(body=body), attempt())
    assert work.kinds == ["delivered", "delivered"]
    assert server.delivered[0][2].endswith(body)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_old_versions_are_not_spoken(issuer, version):
    """TLS-08, RFC 8996: a server that knows nothing newer than TLS 1.1 is one without TLS."""
    context = issuer.server(NAME)
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context.minimum_version = context.maximum_version = version
    server = SmtpServer(keywords=OFFERED, tls=context)
    assert reason(once(server, level=ENCRYPT)[0])[:2] == ("deferred", "4.7.5")
    work, out = once(SmtpServer(keywords=OFFERED, tls=context))
    assert (work.kinds, work.first.tls) == (["delivered"], "")
    assert out.events[0]["then"] == "plaintext"


def test_client_certificate_is_shown_to_who_asks(issuer, tmp_path: Path):
    """A certificate for each destination; without one, a server that demands one is one whose TLS fails."""
    context = issuer.server(NAME)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(issuer.file)
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # there, who shows none is told during the handshake
    server = SmtpServer(keywords=OFFERED, tls=context)
    work, _ = once(server, level=ENCRYPT, certificate=str(issuer.pem("client.example.org")))
    assert work.kinds == ["delivered"]
    assert ("DNS", "client.example.org") in server.sessions[0].tls.getpeercert()["subjectAltName"]
    assert reason(once(SmtpServer(keywords=OFFERED, tls=context), level=ENCRYPT)[0])[1] == "4.7.5"


def test_own_certificate_that_cannot_be_read_puts_off(good, tmp_path: Path):
    """Our mistake: mail waits, and neither path nor content stands in what senders see."""
    work, _ = once(SmtpServer(keywords=OFFERED, tls=good), level=ENCRYPT, certificate=str(tmp_path / "none.pem"))
    kind, status, text = reason(work)
    assert (kind, status) == ("deferred", "4.7.5")
    assert "none.pem" not in text


class TestImplicit:
    """TLS from the first octet (RFC 8314)."""

    def test_mail_goes_inside_it(self, issuer, good):
        """The greeting comes inside TLS; STARTTLS is not asked for."""

        async def scenario():
            async with SmtpServer(keywords=("PIPELINING",), tls=good, implicit=True) as server:
                out = Out(server, **verifying(issuer))
                return [await out.send(implicit=True) for _ in range(2)], server

        works, server = run_virtual(scenario())
        assert [work.kinds for work in works] == [["delivered"]] * 2
        assert works[0].first.tls.endswith(" verified")
        assert "STARTTLS" not in server.commands

    @pytest.mark.parametrize("level", [NONE, MAY, ENCRYPT])
    def test_there_is_no_plaintext_whatever_the_policy(self, level):
        """A server that greets in clear is none: nothing is sent to it, and nobody tries again in clear."""
        server = SmtpServer()

        async def scenario():
            async with server:
                return await Out(server, level=level).send(implicit=True)

        work = run_virtual(scenario())
        assert reason(work)[0] == "deferred"
        assert server.commands == []
        assert len(server.sessions) == 1


class TestRequireTls:
    """REQUIRETLS (RFC 8689) as far as one hop goes."""

    def marked(self):
        return attempt(requiretls=True)

    def test_it_is_passed_on_to_a_server_that_promises(self, issuer, good):
        """C97: STARTTLS, verified, REQUIRETLS inside: MAIL says it too."""
        server = SmtpServer(keywords=OFFERED, inside=("PIPELINING", "REQUIRETLS"), tls=good)
        work, _ = once(server, self.marked(), requiretls=True, **verifying(issuer))
        assert work.kinds == ["delivered"]
        assert server.delivered[0][0].endswith(" REQUIRETLS")

    @pytest.mark.parametrize("keywords", [("PIPELINING",), ("PIPELINING", "REQUIRETLS")])
    def test_without_starttls_the_message_comes_back(self, issuer, keywords):
        """C97: 5.7.10, and not a word of it in clear; that REQUIRETLS is promised outside TLS means nothing."""
        server = SmtpServer(keywords=keywords)
        work, _ = once(server, self.marked(), requiretls=True, **verifying(issuer))
        assert reason(work)[:2] == ("failed", "5.7.10")
        assert in_clear(server) == []

    def test_without_a_promise_the_message_comes_back(self, issuer, good):
        """C97: 5.7.30 where the verified server does not offer REQUIRETLS inside TLS."""
        server = SmtpServer(keywords=(*OFFERED, "REQUIRETLS"), inside=("PIPELINING",), tls=good)
        work, _ = once(server, self.marked(), requiretls=True, **verifying(issuer))
        assert reason(work)[:2] == ("failed", "5.7.30")
        assert not server.delivered

    def test_an_unverified_server_is_no_tls(self, issuer, tmp_path: Path):
        """C97: encrypted towards whoever answers is not enough, whatever the policy says."""
        stranger = Issuer(tmp_path, "stranger").server(NAME)
        server = SmtpServer(keywords=OFFERED, inside=("REQUIRETLS",), tls=stranger)
        work, _ = once(server, self.marked(), requiretls=True, level=MAY)
        assert reason(work)[:2] == ("failed", "5.7.10")

    def test_a_mistake_of_ours_is_no_answer(self, good, tmp_path: Path):
        """Authorities that cannot be read now make mail wait: the next server has said nothing yet."""
        server = SmtpServer(keywords=OFFERED, inside=("REQUIRETLS",), tls=good)
        missing = str(tmp_path / "none.pem")
        work, _ = once(server, self.marked(), requiretls=True, level=VERIFY, authorities=missing)
        assert reason(work)[:2] == ("deferred", "4.7.5")

    def test_trouble_of_the_moment_is_no_answer(self, issuer):
        """A server that says 421 may keep the promise tomorrow."""
        server = SmtpServer({"greeting": Close(b"421 busy\r\n")}, OFFERED)
        work, _ = once(server, self.marked(), requiretls=True, **verifying(issuer))
        assert reason(work)[0] == "deferred"

    def test_marked_mail_on_another_connection_is_not_sent(self, good):
        """The last fence: whoever led it to a connection that was not made for it."""
        server = SmtpServer(keywords=OFFERED, inside=("REQUIRETLS",), tls=good)
        work, _ = once(server, self.marked(), attempt())
        assert work.kinds == ["failed", "delivered"]
        assert work.first.status == "5.7.10"
        assert len(server.delivered) == 1


def test_greeting_timeout_inside_tls_is_that_of_any_greeting(good):
    """RFC 5321 section 4.5.3.2.1 holds inside TLS too: a server that hangs at EHLO there is left after five minutes."""

    def ehlo(session):
        return HANG if session.tls else None

    async def scenario():
        async with SmtpServer({"EHLO": ehlo}, OFFERED, tls=good) as server:
            begun = asyncio.get_running_loop().time()
            work = await Out(server).send()
            return work, asyncio.get_running_loop().time() - begun

    work, took = run_virtual(scenario())
    assert reason(work)[:2] == ("deferred", "4.4.2")
    assert 300 <= took < 310


@pytest.mark.parametrize("level", [MAY, ENCRYPT, VERIFY])
def test_lmtp_goes_inside_tls_as_smtp_does(issuer, level):
    """RFC 2033, RFC 3207: LHLO, STARTTLS, LHLO again; each recipient has its own answer there too (C99)."""
    server = SmtpServer(keywords=OFFERED, tls=issuer.server("127.0.0.1"), lmtp=True)
    policy = TlsPolicy(level, authorities=str(issuer.file) if level is VERIFY else "")

    async def scenario():
        async with server:
            host = Host("127.0.0.1", server.port, private=True, tls=policy)
            work = FakeWork(
                Destination("lmtp:x", LmtpRoute("127.0.0.1", server.port), (host,)), attempt("b1@x.test", "b2@x.test")
            )
            agent().start(work)
            await asyncio.wait_for(work.end.wait(), 10_000)
            return work

    work = run_virtual(scenario())
    assert work.kinds == ["delivered", "delivered"]
    assert server.commands[:3] == ["LHLO client.example.org", "STARTTLS", "LHLO client.example.org"]
    assert work.first.tls.endswith(" verified" if level is VERIFY else " unverified")


def test_a_unix_socket_needs_no_tls(tmp_path: Path):
    """Nothing leaves the machine: no STARTTLS there, whatever the policy says, and mail with REQUIRETLS may go (RFC 8689 is about hops)."""

    async def scenario():
        server = SmtpServer(keywords=OFFERED, lmtp=True)
        socket = str(tmp_path / "lmtp")
        listening = await asyncio.start_unix_server(server._serve, socket)
        async with listening:
            host = Host(socket, 0, private=True, tls=TlsPolicy(VERIFY))
            work = FakeWork(Destination("lmtp:x", LmtpRoute(socket), (host,)), attempt(requiretls=True))
            agent(connection_idle=0.05).start(work)
            await asyncio.wait_for(work.end.wait(), 60)
            return work, server

    work, server = asyncio.run(scenario())
    assert work.kinds == ["delivered"]
    assert "STARTTLS" not in server.commands
    assert "REQUIRETLS" not in server.delivered[0][0]
