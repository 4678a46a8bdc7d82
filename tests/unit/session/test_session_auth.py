"""AUTH in the session: offers, refusals, outcomes, hooks, limits and what is forgotten when (RFC 4954)."""

from __future__ import annotations

import asyncio
import base64
import hmac
from functools import partial
from typing import Any

import pytest
from tests.unit.session.authkit import (
    ANNA,
    CANARY,
    AuthDialogue,
    MemoryCounters,
    MemoryCredentials,
    MemoryKeys,
    authenticator,
    b64,
    plain,
    rules,
)

from upesi.config.settings import Role, SmtpSettings
from upesi.config.units import Duration, Rate
from upesi.hooks.verdict import Verdict, VerdictKind, accept, defer, reject
from upesi.mail.security import PeerCertificate, TlsInfo
from upesi.sasl.attempts import AttemptRules
from upesi.sasl.credentials import Ability, Reason, Refused, SharedSecret, Unavailable
from upesi.session.auth import forget_identity
from upesi.session.starttls import secured
from upesi.testkit import run_virtual

WRONG = ["535 5.7.8 Authentication credentials invalid"]
IN = ["235 2.7.0 Authentication succeeded"]


async def test_plain_lets_the_right_password_in() -> None:
    """C51: 235 2.7.0; the session knows who it is, and may send anywhere."""
    client = AuthDialogue(take=False)
    client.hello()
    assert await client.login() == IN
    assert client.engine.session.identity == "anna"
    assert client.codes("MAIL FROM:<anna@example.org>", "RCPT TO:<far@example.com>", "DATA") == ["250", "250", "354"]
    origin = client.auth._source.origins[0]  # type: ignore[union-attr]
    assert (origin.remote, origin.service, origin.secured) == ("192.0.2.1", "smtp", True)


async def test_wrong_and_unknown_are_one_reply() -> None:
    """AUT-04, C51: 535 5.7.8 in the same words, whether the account is there, closed or not."""
    for user, password, refusal in (
        ("anna", "wrong", None),
        ("nobody", "wrong", None),
        ("anna", CANARY, Refused(Reason.DISABLED)),
    ):
        source = MemoryCredentials()
        source.trouble = refusal
        client = AuthDialogue(source)
        client.hello()
        assert await client.login(user, password) == WRONG
        assert client.engine.session.identity is None
        assert client.codes("MAIL FROM:<a@example.org>") == ["250"]


# -- what is offered


def announced(client: AuthDialogue) -> list[str]:
    return [line[9:] for line in client.say("EHLO c") if line[4:].startswith("AUTH")]


def test_auth_is_offered_under_tls_only() -> None:
    """AUT-01, C49: on a plain link it is not announced, and said all the same gets 538 5.7.11."""
    client = AuthDialogue(tls=False)
    client.heard()
    assert announced(client) == []
    assert client.say("AUTH PLAIN " + plain("anna", CANARY)) == ["538 5.7.11 Encryption required for authentication"]
    assert client.auth._source.asked == []  # type: ignore[union-attr]


async def test_a_listener_may_offer_it_without_tls() -> None:
    """`auth.without_tls`: for loopback, or behind a proxy that has ended TLS."""
    client = AuthDialogue(tls=False, auth=authenticator(MemoryCredentials(), without_tls=True))
    client.heard()
    assert "PLAIN" in announced(client)[0].split()
    assert await client.login() == IN


@pytest.mark.parametrize(
    ("abilities", "offered"),
    [
        ({Ability.VERIFY}, ["PLAIN", "LOGIN"]),
        ({Ability.SCRAM_SHA_256}, ["SCRAM-SHA-256"]),
        ({Ability.SHARED_SECRET}, ["CRAM-MD5"]),
        (set(), []),
    ],
)
def test_only_what_can_be_served_is_offered(abilities: set[Ability], offered: list[str]) -> None:
    """C49: a mechanism is announced where the source has what it needs."""
    source = MemoryCredentials()
    source.abilities = frozenset(abilities)
    client = AuthDialogue(source)
    client.heard()
    assert announced(client) == ([" ".join(offered)] if offered else [])


def test_the_strongest_comes_first() -> None:
    """Clients that have no opinion take the first mechanism that they know; bindings and certificates offer more."""
    client = AuthDialogue()
    client.heard()
    assert announced(client) == ["SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5"]
    peer = PeerCertificate("CN=anna", "CN=ca", ("anna@example.org",), "00")
    client.engine.session.tls = TlsInfo("TLSv1.3", "X", peer=peer, end_point=b"hash")
    assert announced(client)[0].split()[:3] == ["EXTERNAL", "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"]


@pytest.mark.parametrize(
    ("line", "reply"),
    [
        ("AUTH GSSAPI", "504 5.5.4 Authentication mechanism not supported"),
        ("AUTH EXTERNAL", "504 5.5.4 Authentication mechanism not supported"),
        ("AUTH OAUTHBEARER", "504 5.5.4 Authentication mechanism not supported"),
        ("AUTH CRAM-MD5", "534 5.7.9 Authentication mechanism is too weak"),
        ("AUTH PLAIN *", "501 5.5.2 Cannot decode base64"),
        ("AUTH PLAIN " + b64("\0anna"), "501 5.5.2 Malformed authentication data"),
        ("AUTH PLAIN =", "501 5.5.2 Malformed authentication data"),
    ],
)
def test_what_is_refused_at_once(line: str, reply: str) -> None:
    """AUT-03, C50, C51: unknown 504 5.5.4, switched off 534 5.7.9, malformed 501 5.5.2; the session goes on."""
    mechanisms = ("PLAIN", "LOGIN", "SCRAM-SHA-256", "EXTERNAL", "OAUTHBEARER")
    client = AuthDialogue(auth=authenticator(MemoryCredentials(), mechanisms=mechanisms))
    client.hello()
    assert client.say(line) == [reply]
    assert client.codes("NOOP") == ["250"]


async def test_auth_comes_once_and_not_in_a_transaction() -> None:
    """AUT-03, C49: 503 for the second, and inside of a mail transaction; EHLO does not offer it again."""
    client = AuthDialogue()
    client.hello()
    assert client.codes("MAIL FROM:<a@b.example>", "AUTH PLAIN " + plain("anna", CANARY), "RSET") == [
        "250",
        "503",
        "250",
    ]
    assert await client.login() == IN
    assert client.say("AUTH PLAIN " + plain("anna", CANARY)) == ["503 5.5.1 Already authenticated"]
    assert announced(client) == []


def test_auth_needs_ehlo_first() -> None:
    """RFC 4954 section 4: behind EHLO."""
    client = AuthDialogue()
    client.heard()
    assert client.codes("AUTH PLAIN") == ["503"]


# -- the dialogue


async def test_login_asks_and_a_star_cancels() -> None:
    """C50: challenges in base64; `*` gets 501, and the next attempt begins anew."""
    client = AuthDialogue()
    client.hello()
    assert client.say("AUTH LOGIN") == ["334 VXNlcm5hbWU6"]
    assert client.say(b64("anna")) == ["334 UGFzc3dvcmQ6"]
    assert client.say("*") == ["501 5.7.0 Authentication cancelled"]
    assert client.say("AUTH PLAIN") == ["334 "]
    assert await client.ask(plain("anna", CANARY)) == IN
    assert client.named("auth.failed") == []


async def test_a_line_that_is_no_answer_ends_the_exchange() -> None:
    """C50: bad base64 and lines too long; nothing of the exchange is left for the next line."""
    for line in ("???", "A" * 20_000):
        client = AuthDialogue()
        client.hello()
        client.say("AUTH LOGIN", b64("anna"))
        assert client.codes(line)[0] in ("501", "500")
        assert client.engine.auth.exchange is None
        assert client.codes("NOOP") == ["250"]


async def test_a_pipelining_client_is_answered_in_order() -> None:
    """C40, C42: what comes behind AUTH waits for its outcome."""
    client = AuthDialogue()
    client.hello()
    lines = ["AUTH LOGIN", b64("anna"), b64(CANARY), "MAIL FROM:<anna@example.org>", "RSET"]
    said = await client.ask(*lines)
    assert [line[:3] for line in said] == ["334", "334", "235", "250", "250"]


# -- trouble of sources


async def hang() -> None:
    await asyncio.Event().wait()


@pytest.mark.parametrize(
    "trouble",
    [
        Unavailable("connection refused"),
        RuntimeError("secret " + CANARY),
        hang,
        SharedSecret(ANNA, CANARY),
        Ability.VERIFY,
    ],
)
async def test_a_source_in_trouble_lets_nobody_in(trouble: Any) -> None:
    """AUT-07, C51: down, broken, slow or garbage: 454 4.7.0, and no failure of the client's is counted."""
    counters = MemoryCounters()
    source = MemoryCredentials()
    source.trouble = trouble
    strict = rules(pair=Rate("10/1h"), network=Rate("10/1h"), account=Rate("10/1h"))
    client = AuthDialogue(auth=authenticator(source, timeout=0.01, counters=counters, attempts=strict))
    client.hello()
    assert await client.login() == ["454 4.7.0 Temporary authentication failure"]
    assert client.engine.session.identity is None
    assert counters.counts == {}
    assert CANARY not in str(client.events)


async def test_a_client_that_leaves_ends_the_question() -> None:
    """The question is cancelled with the session, and nobody is let in behind it."""
    source = MemoryCredentials()
    source.trouble = hang
    client = AuthDialogue(source)
    client.hello()
    client.say("AUTH PLAIN " + plain("anna", CANARY))
    task = client.connection._task
    await asyncio.sleep(0)
    client.hang_up()
    assert task is not None
    await asyncio.wait((task,), timeout=10)
    assert task.cancelled()
    assert client.named("auth.succeeded") == []


async def test_an_expired_password_is_said_to_its_owner() -> None:
    """C51: 432 4.7.12, where the source has seen the right password."""
    source = MemoryCredentials()
    source.trouble = Refused(Reason.EXPIRED)
    client = AuthDialogue(source)
    client.hello()
    assert await client.login() == ["432 4.7.12 A password transition is needed"]


# -- failures


async def test_the_last_failure_ends_the_session() -> None:
    """AUT-04: at most so many failures, whatever lies between them; then 421."""
    client = AuthDialogue(auth=authenticator(MemoryCredentials(), max_failures=3))
    client.hello()
    assert await client.login("anna", "1") == WRONG
    client.say("RSET", "EHLO c")
    assert await client.login("anna", "2") == WRONG
    assert await client.login("anna", "3") == [*WRONG, "421 4.7.0 Too many failed authentications, closing connection"]
    assert client.engine.over
    assert [event["reason"] for event in client.named("auth.failed")] == ["wrong credentials"] * 3


async def test_cancelling_in_a_loop_comes_to_an_end() -> None:
    """FLD-08: each `*` is an error, and errors are bounded."""
    client = AuthDialogue(settings=SmtpSettings(soft_errors=50, hard_errors=10))
    client.hello()
    for _ in range(9):
        assert client.codes("AUTH LOGIN", "*") == ["334", "501"]
    assert client.codes("AUTH LOGIN", "*") == ["334", "501", "421"]


async def test_an_account_is_locked_and_the_owner_is_not() -> None:
    """AUT-04: a thousand networks cannot guess on, and the owner's own network is spared."""
    counters, source, keys = MemoryCounters(), MemoryCredentials(), MemoryKeys()
    strict = rules(account=Rate("5/1h"))

    def client(address: str) -> AuthDialogue:
        made = AuthDialogue(
            auth=authenticator(source, counters=counters, keys=keys, attempts=strict), peer=(address, 40000)
        )
        made.hello()
        return made

    assert await client("192.0.2.7").login() == IN
    for number in range(5):
        assert await client(f"198.51.100.{number}").login("anna", "guess") == WRONG
    source.asked.clear()
    assert await client("198.51.100.99").login() == ["454 4.7.0 Too many failed attempts, try again later"]
    assert source.asked == []
    assert await client("192.0.2.7").login() == IN
    assert await client("198.51.100.99").login("bert", "x") == WRONG


async def test_locks_tell_nobody_who_exists() -> None:
    """AUT-04: a name that is nobody's is locked like any other."""
    replies = []
    for user in ("anna", "nobody"):
        counters = MemoryCounters()
        for _ in range(4):
            client = AuthDialogue(
                auth=authenticator(MemoryCredentials(), counters=counters, attempts=rules(account=Rate("3/1h")))
            )
            client.hello()
            replies.append((user, await client.login(user, "guess")))
    assert [reply for user, reply in replies if user == "anna"] == [
        reply for user, reply in replies if user == "nobody"
    ]
    assert replies[3][1] != WRONG


@pytest.mark.parametrize(
    ("addresses", "locked"),
    [(["192.0.2.9"], True), (["2001:db8::1", "2001:db8::2"], True), (["192.0.2.1", "192.0.2.2"], False)],
)
async def test_a_network_is_locked_over_many_users(addresses: list[str], locked: bool) -> None:
    """AUT-04: one password on many accounts; an IPv6 client is its /64."""
    counters = MemoryCounters()
    said = []
    for number in range(4):
        peer = (addresses[number % len(addresses)], 40000)
        given = authenticator(MemoryCredentials(), counters=counters, attempts=rules(network=Rate("3/1h")))
        client = AuthDialogue(auth=given, peer=peer)
        client.hello()
        said.append(await client.login(f"user{number}", "guess"))
    assert (said[3] != WRONG) is locked


async def test_a_lock_holds_for_every_mechanism() -> None:
    """AUT-04: what PLAIN may not try SCRAM and CRAM-MD5 may not either."""
    counters = MemoryCounters()
    given = authenticator(MemoryCredentials(), counters=counters, attempts=rules(pair=Rate("1/1h")), max_failures=9)
    client = AuthDialogue(auth=given)
    client.hello()
    assert await client.login("anna", "guess") == WRONG
    locked = "454 4.7.0 Too many failed attempts, try again later"
    assert await client.ask("AUTH SCRAM-SHA-256 " + b64("n,,n=anna,r=x")) == [locked]
    assert (await client.ask("AUTH CRAM-MD5", b64("anna 00")))[-1] == locked
    assert (await client.ask("AUTH LOGIN", b64("anna"), b64(CANARY)))[-1] == locked


@pytest.mark.parametrize(
    ("strict", "what"),
    [
        (rules(pair=Rate("1/1h")), "account from this network is locked"),
        (rules(account=Rate("1/1h")), "account is locked"),
        (rules(network=Rate("1/1h")), "network is locked"),
    ],
)
async def test_a_lock_has_a_reason_of_its_own(strict: AttemptRules, what: str) -> None:
    """AUT-04: who watches tells a lock from a source that is down; `detail` says what is locked."""
    client = AuthDialogue(auth=authenticator(MemoryCredentials(), counters=MemoryCounters(), attempts=strict))
    client.hello()
    assert await client.login("anna", "guess") == WRONG
    await client.login()
    failed = client.named("auth.failed")[1]
    assert (failed["reason"], failed["detail"]) == ("locked", what)


async def test_success_forgets_the_owners_own_slips() -> None:
    """AUT-04: who gets in has mistyped; the network's other failures stay counted."""
    counters = MemoryCounters()
    given = authenticator(
        MemoryCredentials(), counters=counters, attempts=rules(pair=Rate("3/1h"), network=Rate("99/1h"))
    )
    for password in ("slip", "slip", CANARY, "slip", "slip", CANARY):
        client = AuthDialogue(auth=given)
        client.hello()
        assert (await client.login("anna", password) == IN) is (password == CANARY)
    assert list(counters.counts.values()) == [4]


@pytest.mark.parametrize(("before", "seconds"), [(0, 1.0), (1, 2.0), (3, 8.0), (4, 16.0), (50, 16.0)])
def test_delays_double_up_to_a_bound(before: int, seconds: float) -> None:
    """AUT-04: each failure of a network makes the next one dearer."""
    given = rules(network=Rate("100/1h"), delay=Duration(1), longest_delay=Duration(16))
    attempts = authenticator(attempts=given).attempts
    for _ in range(before):
        attempts.failed("anna", "192.0.2.1")
    assert attempts.delay("192.0.2.1") == seconds
    assert attempts.delay("192.0.2.2") == 1.0


def test_a_failure_takes_its_time_and_a_success_none() -> None:
    """AUT-04: the reply to a wrong password comes a fixed time after the question, however long the answer took."""

    async def timed() -> list[float]:
        loop = asyncio.get_running_loop()
        source, took = MemoryCredentials(), []
        given = authenticator(source, attempts=rules(delay=Duration(1), longest_delay=Duration(4)), max_failures=9)
        given.monotonic = loop.time
        client = AuthDialogue(auth=given)
        client.hello()

        for pause, user, password, reply in (
            (0.25, "anna", "wrong", WRONG),
            (0.75, "nobody", "wrong", WRONG),
            (3.0, "anna", "wrong", WRONG),
            (0.5, "anna", CANARY, IN),
        ):
            source.trouble = partial(asyncio.sleep, pause)
            began = loop.time()
            assert await client.login(user, password) == reply
            took.append(loop.time() - began)
        return took

    assert run_virtual(timed()) == pytest.approx([1.0, 1.0, 3.0, 0.5])


# -- hooks


async def test_a_hook_can_let_in_with_its_own_knowledge() -> None:
    """PLUGINS.md: accept("identity") at `auth`; no source is asked."""
    seen: list[Any] = []

    def judge(session: Any, credentials: Any) -> Any:
        seen.append(
            (credentials.mechanism, credentials.user, credentials.password, credentials.token, credentials.proved)
        )
        return accept("anna@example.org") if credentials.password == CANARY else None

    client = AuthDialogue(auth=authenticator(None, plugins=True), auth_=judge)
    client.hello()
    assert await client.login() == IN
    assert client.engine.session.identity == "anna@example.org"
    assert seen == [("PLAIN", "anna", CANARY, None, False)]


@pytest.mark.parametrize(
    ("verdict", "reply", "asked"),
    [
        (accept(), IN, 1),
        (None, IN, 1),
        (reject("5.7.8", "Not from here"), ["550 5.7.8 Not from here"], 0),
        (defer("4.7.0", "Later"), ["451 4.7.0 Later"], 0),
        (reject("5.7.8", "Go", disconnect=True), ["550 5.7.8 Go", "421 4.7.0 Closing connection"], 0),
    ],
)
async def test_a_hook_can_deny_or_have_no_opinion(verdict: Any, reply: list[str], asked: int) -> None:
    """PLUGINS.md: a vote without a name is no opinion at `auth`: the source decides."""
    source = MemoryCredentials()
    client = AuthDialogue(source, auth_=lambda session, credentials: verdict)
    client.hello()
    assert await client.login() == reply
    assert len(source.asked) == asked
    assert (client.engine.session.identity == "anna") is (reply == IN)


async def test_a_vote_without_a_name_takes_no_name_back() -> None:
    """PLUGINS.md: of several votes the first that has a name counts, and a refusal behind it counts more."""

    async def named(session: Any, credentials: Any) -> Any:
        return accept("first")

    for later, identity in ((accept(), "first"), (accept("second"), "first"), (reject("5.7.8", "No"), None)):
        client = AuthDialogue(auth_=(named, lambda session, credentials, later=later: later))
        client.hello()
        await client.login()
        assert client.engine.session.identity == identity


@pytest.mark.parametrize("identity", ["an\nna", b"anna", 7, None])
async def test_an_identity_that_is_none_lets_nobody_in(identity: Any) -> None:
    """PLUGINS.md: a verdict put together by hand is checked like any; what no account can be called is a plugin's failure."""
    client = AuthDialogue(auth_=lambda session, credentials: Verdict(VerdictKind.ACCEPT, identity=identity))
    client.hello()
    assert await client.login() == ["451 4.3.0 Temporary failure, please try again later"]
    assert client.engine.session.identity is None
    with pytest.raises(ValueError):
        accept("an\nna")
    with pytest.raises(ValueError):
        accept("a" * 256)


async def test_a_hook_that_fails_lets_nobody_in() -> None:
    """PLUGINS.md: an exception is 451 4.3.0 and no guess of the client's."""

    def broken(session: Any, credentials: Any) -> Any:
        raise RuntimeError(credentials.password)

    client = AuthDialogue(auth_=broken)
    client.hello()
    assert await client.login() == ["451 4.3.0 Temporary failure, please try again later"]
    assert client.engine.session.identity is None


async def test_where_no_secret_came_a_hook_is_told_who_has_proved_it() -> None:
    """PLUGINS.md: with CRAM-MD5, SCRAM and EXTERNAL a plugin can only deny, behind the proof."""
    seen: list[Any] = []

    def judge(session: Any, credentials: Any) -> Any:
        seen.append((credentials.user, credentials.password, credentials.proved))
        return reject("5.7.8", "Closed") if len(seen) > 1 else None

    for expected in (IN, ["550 5.7.8 Closed"]):
        client = AuthDialogue(auth_=judge)
        client.hello()
        challenge = client.say("AUTH CRAM-MD5")[0].removeprefix("334 ")
        digest = hmac.new(CANARY.encode(), base64.b64decode(challenge), "md5").hexdigest()
        assert await client.ask(b64(f"anna {digest}")) == expected
    assert seen == [("anna", None, True)] * 2


# -- what is forgotten


async def test_rset_and_ehlo_keep_the_identity() -> None:
    """RFC 4954 section 4: without a security layer they forget the transaction, not who the client is."""
    client = AuthDialogue(take=False)
    client.hello()
    await client.login()
    client.say("RSET", "EHLO again")
    assert client.engine.session.identity == "anna"
    assert client.codes("MAIL FROM:<anna@example.org>", "RCPT TO:<far@example.com>") == ["250", "250"]


async def test_starttls_forgets_the_identity_and_not_the_failures() -> None:
    """TLS-02, RFC 3207 section 4.2: what was said in clear is forgotten; a handshake is no way to more guesses."""
    client = AuthDialogue(tls=False, auth=authenticator(MemoryCredentials(), without_tls=True, max_failures=2))
    client.hello()
    assert await client.login("anna", "guess") == WRONG
    assert await client.login() == IN
    secured(client.engine, TlsInfo("TLSv1.3", "X"))
    assert client.engine.session.identity is None
    assert client.engine.auth.account is None
    client.say("EHLO c")
    assert (await client.login("anna", "guess"))[-1].startswith("421 4.7.0")


def test_whoever_is_behind_another_has_not_their_certificate() -> None:
    """PRX: by XCLIENT the client is another one: certificate and bindings of the link are those of who said so, before and behind TLS."""
    secure = TlsInfo(
        "TLSv1.3", "X", peer=PeerCertificate("CN=front", "CN=ca", ("anna@example.org",), "00"), end_point=b"h"
    )
    client = AuthDialogue()
    client.engine.session.tls = secure
    client.hello()
    assert announced(client)[0].startswith("EXTERNAL SCRAM-SHA-256-PLUS")
    client.engine.session.identity = "said by XCLIENT"
    forget_identity(client.engine, behind=True)
    assert client.engine.session.identity is None
    for _ in range(2):
        assert announced(client) == ["SCRAM-SHA-256 SCRAM-SHA-1 PLAIN LOGIN CRAM-MD5"]
        assert client.codes("AUTH EXTERNAL =") == ["504"]
        secured(client.engine, secure)
        client.say("EHLO c")


def test_tls_forgets_an_identity_that_was_said_without_auth() -> None:
    """TLS-02: XCLIENT LOGIN is forgotten with the rest."""
    client = AuthDialogue(tls=False)
    client.hello()
    client.engine.session.identity = "said by XCLIENT"
    secured(client.engine, TlsInfo("TLSv1.3", "X"))
    assert client.engine.session.identity is None


# -- what is told


async def test_events_tell_who_and_never_what() -> None:
    """LOG: auth.succeeded and auth.failed; the transaction and the session bear the identity."""
    client = AuthDialogue()
    client.hello()
    await client.login("anna", "wrong-" + CANARY)
    await client.login()
    client.say("MAIL FROM:<anna@example.org>", "RCPT TO:<b@example.net>", "DATA")
    client.say(b"From: anna@example.org\r\n\r\nx\r\n.\r\n")
    client.hang_up()
    failed, succeeded = client.named("auth.failed")[0], client.named("auth.succeeded")[0]
    assert {key: failed[key] for key in ("client", "mechanism", "user", "reason")} == {
        "client": "192.0.2.1", "mechanism": "PLAIN", "user": "anna", "reason": "wrong credentials",
    }  # fmt: skip
    assert succeeded["identity"] == "anna"
    assert client.named("transaction.accepted")[0]["identity"] == "anna"
    assert client.named("session.ended")[0]["identity"] == "anna"
    assert CANARY not in str(client.events)
    assert b" with ESMTPSA (TLSv1.3 " in client.intake.accepted[0].prefix


@pytest.mark.parametrize(
    ("relaying", "identity", "parameter", "submitter"),
    [
        (False, None, "<>", ""),
        (False, None, "e+3Dmc2@example.com", ""),
        (True, None, "e+3Dmc2@example.com", "e=mc2@example.com"),
        (True, None, "<>", ""),
        (True, None, "not-an-address", ""),
        (False, "anna", "bert@example.org", "bert@example.org"),
    ],
)
async def test_the_auth_parameter_is_kept_from_the_trusted(
    relaying: bool, identity: str | None, parameter: str, submitter: str
) -> None:
    """AUT-06, C52: from anybody else it is as good as `<>`."""
    client = AuthDialogue()
    client.hello()
    if identity:
        await client.login()
    client.engine.session.relaying = relaying
    assert client.codes(f"MAIL FROM:<anna@example.org> AUTH={parameter}") == ["250"]
    assert client.engine.session.transaction.submitter == submitter


async def test_submission_wants_authentication() -> None:
    """C35, RFC 6409 section 4.3: 530 5.7.0 before AUTH; networks that may relay are known by their address."""
    client = AuthDialogue(role=Role.SUBMISSION)
    client.hello()
    assert client.say("MAIL FROM:<anna@example.org>") == ["530 5.7.0 Authentication required"]
    await client.login()
    assert client.codes("MAIL FROM:<anna@example.org>") == ["250"]
    assert client.auth._source.origins[0].service == "submission"  # type: ignore[union-attr]
    local = AuthDialogue(role=Role.SUBMISSION)
    local.hello()
    local.engine.session.relaying = True
    assert local.codes("MAIL FROM:<a@example.org>") == ["250"]
