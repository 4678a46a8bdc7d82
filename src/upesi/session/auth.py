"""AUTH (RFC 4954): one exchange after another, until one lets the client in or there were too many.

The steps of an exchange come from a mechanism (`sasl`), which is pure; here challenges become 334, questions go to the `auth` hooks and
then to the source of credentials, and the outcome becomes a reply, an event and `session.identity`. No reply and no event tells
whether it was the user or the password that was wrong, and nothing here holds a secret longer than its question.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from upesi.config.settings import Role
from upesi.hooks.credentials import AuthCredentials
from upesi.hooks.verdict import Verdict
from upesi.mail.errors import InvariantError
from upesi.mail.reply import Reply
from upesi.mail.security import PeerCertificate
from upesi.protocol.smtp.auth import challenge_text
from upesi.protocol.smtp.events import AuthCommand, AuthResponse
from upesi.sasl.attempts import Attempt, Lock
from upesi.sasl.authenticator import Authenticator
from upesi.sasl.circumstances import Link
from upesi.sasl.credentials import Identity, Origin
from upesi.sasl.mechanisms import MECHANISMS
from upesi.sasl.steps import Answer as Found
from upesi.sasl.steps import Challenge, CheckPassword, CheckToken, Exchange, Failure, MechanismFailed, Question, Step
from upesi.session import replies
from upesi.session.answers import Answer, Waiting
from upesi.session.engine import SessionEngine

__all__ = ["AuthState", "auth", "auth_keywords", "forget_identity", "response"]

_SUCCEEDED = Reply.make(235, "2.7.0", "Authentication succeeded")
_ALREADY = Reply.make(503, "5.5.1", "Already authenticated")
_UNKNOWN = Reply.make(504, "5.5.4", "Authentication mechanism not supported")
_TOO_WEAK = Reply.make(534, "5.7.9", "Authentication mechanism is too weak")
_NEEDS_TLS = Reply.make(538, "5.7.11", "Encryption required for authentication")
_WRONG = Reply.make(535, "5.7.8", "Authentication credentials invalid")
_REPLIES = {
    Failure.MALFORMED: Reply.make(501, "5.5.2", "Malformed authentication data"),
    Failure.CANCELLED: Reply.make(501, "5.7.0", "Authentication cancelled"),
    Failure.WRONG: _WRONG,
    Failure.DISABLED: _WRONG,
    Failure.EXPIRED: Reply.make(432, "4.7.12", "A password transition is needed"),
    Failure.UNAVAILABLE: Reply.make(454, "4.7.0", "Temporary authentication failure"),
    Failure.LOCKED: Reply.make(454, "4.7.0", "Too many failed attempts, try again later"),
}
_SERVICES = {Role.MX: "smtp", Role.SUBMISSION: "submission", Role.LMTP: "lmtp"}
# seconds until a locked door is tried again for the first time: what checking a password takes
_AGAIN = 0.05
# these are guesses, and count against account and network; the others tell an attacker nothing
_GUESSES = frozenset((Failure.WRONG, Failure.DISABLED, Failure.DENIED))


class AuthState:
    """What AUTH left in a session: the exchange that is open, failures so far, and the account that was let in."""

    __slots__ = (
        "account",
        "asked",
        "authenticator",
        "behind",
        "delay",
        "exchange",
        "failures",
        "judged",
        "link",
        "recorded",
        "taken",
    )

    def __init__(self, authenticator: Authenticator, link: Link, *, behind: bool = False) -> None:
        """`behind`: the client is behind somebody who speaks for it (XCLIENT), and so is not the other end of the link."""
        self.authenticator = authenticator
        self.behind = behind
        # neither certificate nor binding are the client's then
        self.link = Link(secured=link.secured) if behind else link
        self.exchange: Exchange | None = None
        self.failures = 0
        self.account: Identity | None = None
        # of the exchange: when the last question was asked, and whether the hooks have spoken already
        self.asked = 0.0
        self.judged = False
        # what is counted of it until it turns out to be no failure, how long after the question a failure is told, and whether it
        # was recorded as one before the client heard the end of it
        self.taken: Attempt | None = None
        self.delay = 0.0
        self.recorded = False


def auth_keywords(engine: SessionEngine) -> tuple[str, ...]:
    """Return the EHLO line that announces AUTH, where it can be used now (C49)."""
    authenticator = engine.context.auth
    if authenticator is None or engine.session.identity is not None:
        return ()
    offered = authenticator.offered(_link(engine) if engine.auth is None else engine.auth.link)
    return ("AUTH " + " ".join(offered),) if offered else ()


def forget_identity(engine: SessionEngine, *, behind: bool = False) -> None:
    """Forget who authenticated, and what is known of the link: TLS begins (RFC 3207 section 4.2), or the client is another one from now on,
    `behind` the one that connected."""
    engine.session.identity = None
    old, authenticator = engine.auth, engine.context.auth
    if authenticator is None or (old is None and not behind):
        return
    engine.auth = AuthState(authenticator, _link(engine), behind=behind or (old is not None and old.behind))
    if old is not None:
        # a handshake is no way to more guesses
        engine.auth.failures = old.failures


def auth(engine: SessionEngine, command: AuthCommand) -> Answer:
    """Begin an exchange."""
    authenticator = engine.context.auth
    if authenticator is None:
        return replies.NOT_IMPLEMENTED
    if engine.session.identity is not None:
        return _ALREADY
    state = engine.auth
    if state is None:
        state = engine.auth = AuthState(authenticator, _link(engine))
    refusal = _refusal(authenticator, command.mechanism, state.link)
    if refusal is not None:
        return refusal
    state.exchange = exchange = authenticator.exchange(command.mechanism, command.initial, state.link)
    state.judged = state.recorded = False
    state.taken = None
    state.asked = authenticator.monotonic()
    return _advance(engine, state, exchange.begin)


def _refusal(authenticator: Authenticator, mechanism: str, link: Link) -> Reply | None:
    if not authenticator.allowed_on(link):
        return _NEEDS_TLS
    if mechanism in authenticator.offered(link):
        return None
    known = mechanism in MECHANISMS and mechanism not in authenticator.settings.mechanisms
    return _TOO_WEAK if known else _UNKNOWN


def response(engine: SessionEngine, event: AuthResponse) -> Answer:
    """Go on with the client's answer to a challenge."""
    state = engine.auth
    if state is None or state.exchange is None:
        return replies.BAD_SEQUENCE
    state.asked = state.authenticator.monotonic()
    if event.data is None:
        return _failed(engine, state, Failure.CANCELLED)
    return _advance(engine, state, partial(state.exchange.respond, event.data))


# -- one step after another


def _advance(engine: SessionEngine, state: AuthState, step: Callable[[], Step | Identity]) -> Answer:
    """Take a step of the exchange and do what it wants."""
    try:
        wanted = step()
    except MechanismFailed as failed:
        return _failed(engine, state, failed.failure, failed.detail)
    if isinstance(wanted, Challenge):
        reply = Reply.make(334, "", challenge_text(wanted.data))
        return reply if wanted.refusal is None else _refused(engine, state, wanted.refusal, reply)
    if isinstance(wanted, Identity):
        return _proved(engine, state, wanted)
    return _question(engine, state, wanted)


def _question(engine: SessionEngine, state: AuthState, question: Question) -> Answer:
    """Ask those who can answer; nobody at all where the door is locked."""
    state.asked = state.authenticator.monotonic()
    state.delay = state.authenticator.attempts.delay(engine.session.client.address)
    return _enter(engine, question, False)


def _enter(engine: SessionEngine, question: Question, acquainted: object) -> Answer:
    """Count the attempt before anybody is asked: many at once pass no limit, and a client that leaves has been counted (AUT-04).

    Strangers are kept out of an account that is locked, and whoever used it from there before is not.
    """
    state = _state(engine)
    attempts, address = state.authenticator.attempts, engine.session.client.address
    taken = attempts.take(question.user, address, acquainted=acquainted is True)
    if isinstance(taken, Attempt):
        state.taken = taken
        return _judge(engine, state, question)
    if taken is Lock.ACCOUNT:
        return Waiting(attempts.acquainted(question.user, address), partial(_recognised, engine, question))
    return _locked(engine, state, question, taken)


def _recognised(engine: SessionEngine, question: Question, acquainted: object) -> Answer:
    if acquainted is True:
        return _enter(engine, question, True)
    state = _state(engine)
    return _later(state, _failed(engine, state, Failure.LOCKED, f"{Lock.ACCOUNT.value} is locked"))


def _locked(engine: SessionEngine, state: AuthState, question: Question, lock: Lock) -> Answer:
    """Refuse, as slowly as a wrong guess: to learn that the door is locked costs what trying it costs.

    Until then it is tried again: what fills the count may be the owner's own, asked about at this moment and given back.
    """
    waited = state.authenticator.monotonic() - state.asked
    if waited >= state.delay:
        return _failed(engine, state, Failure.LOCKED, f"{lock.value} is locked")
    # twice as long each time: whoever is locked out costs a handful of looks
    pause = min(max(waited, _AGAIN), state.delay - waited)
    return Waiting(asyncio.sleep(pause, False), partial(_enter, engine, question))


def _judge(engine: SessionEngine, state: AuthState, question: Question) -> Answer:
    """Ask the hooks where there is a secret that they can judge, then the source."""
    credentials = None if state.exchange is None else _credentials(state.exchange.mechanism, question)
    if credentials is None:
        return _ask_source(engine, question, None)
    state.judged = True
    return engine.ask(engine.context.hooks.auth, _ask_source, question, credentials)


def _credentials(mechanism: str, question: Question) -> AuthCredentials | None:
    """Return what a hook can judge of `question`, None where it holds no secret."""
    if isinstance(question, CheckPassword):
        return AuthCredentials(mechanism, question.user, password=question.password)
    if isinstance(question, CheckToken):
        return AuthCredentials(mechanism, question.user, token=question.token)
    return None


def _ask_source(engine: SessionEngine, question: Question, opinion: Verdict | None) -> Answer:
    state, session = _state(engine), engine.session
    reply = engine.refusal(opinion)
    if reply is not None:
        return _denied(engine, state, reply)
    if opinion is not None and opinion.identity:
        return _answered(engine, Identity(opinion.identity))
    origin = Origin(
        service=_SERVICES[engine.context.role],
        remote=session.client.address,
        secured=state.link.secured,
        session=session.id,
    )
    answer = state.authenticator.ask(question, origin, partial(_overheard, engine, state))
    return Waiting(answer, partial(_answered, engine))


def _overheard(engine: SessionEngine, state: AuthState, answer: Found) -> None:
    """Record what became of an attempt whose client has left before the answer; any other goes to `_answered`.

    Else guesses could be made unseen, and who gives up waiting for a slow source would be locked out for it.
    """
    exchange = state.exchange
    if engine.owner is not None or exchange is None:
        return
    try:
        step = exchange.answer(answer)
    except MechanismFailed as failed:
        _record(engine, state, failed.failure, failed.detail)
        return
    if isinstance(step, Identity):
        _release(state)
    elif isinstance(step, Challenge) and step.refusal is not None:
        _record(engine, state, step.refusal)


def _answered(engine: SessionEngine, answer: object) -> Answer:
    state = _state(engine)
    if state.exchange is None:
        return replies.BAD_SEQUENCE
    return _advance(engine, state, partial(state.exchange.answer, cast("Found", answer)))


def _proved(engine: SessionEngine, state: AuthState, identity: Identity) -> Answer:
    """The mechanism is content. Hooks that have not seen this attempt yet may still deny it."""
    if state.judged or state.exchange is None:
        return _succeeded(engine, identity, None)
    credentials = AuthCredentials(state.exchange.mechanism, identity.name, proved=True)
    return engine.ask(engine.context.hooks.auth, _succeeded, identity, credentials)


# -- outcomes


def _succeeded(engine: SessionEngine, identity: Identity, opinion: Verdict | None) -> Answer:
    state, session = _state(engine), engine.session
    reply = engine.refusal(opinion)
    if reply is not None:
        return _denied(engine, state, reply)
    exchange, state.exchange = state.exchange, None
    if exchange is None:
        return replies.BAD_SEQUENCE
    state.account = identity
    session.identity = identity.name
    taken, state.taken = state.taken, None
    remembering = None if taken is None else state.authenticator.attempts.succeeded(taken)
    if remembering is not None:
        engine.context.spawn(remembering)
    engine.context.emit("auth.succeeded", {**_fields(engine, exchange), "identity": identity.name})
    return _SUCCEEDED


def _denied(engine: SessionEngine, state: AuthState, reply: Reply) -> Answer:
    """A hook refused, and its reply is sent. A 4xx is an outage or a wish to wait, and no guess of the client's."""
    failure = Failure.UNAVAILABLE if reply.temporary else Failure.DENIED
    return _failed(engine, state, failure, f"plugin {engine.refuser[1]}" if engine.refuser else "", reply)


def _refused(engine: SessionEngine, state: AuthState, failure: Failure, challenge: Reply) -> Answer:
    """A guess was wrong, and the client hears of it by one more challenge. It is counted and slow now: few would stay for the 535."""
    _record(engine, state, failure)
    state.recorded = True
    return _later(state, challenge) if failure in _GUESSES else challenge


def _failed(
    engine: SessionEngine, state: AuthState, failure: Failure, detail: str = "", reply: Reply | None = None
) -> Answer:
    """End the exchange: count, tell, answer. The last failure that is allowed ends the session."""
    answer = reply or _REPLIES[failure]
    slow = failure in _GUESSES and not state.recorded
    if not state.recorded:
        _record(engine, state, failure, detail)
    state.exchange = None
    if state.failures >= state.authenticator.settings.max_failures:
        engine.parting = replies.TOO_MANY_AUTH_FAILURES
    return _later(state, answer) if slow else answer


def _record(engine: SessionEngine, state: AuthState, failure: Failure, detail: str = "") -> None:
    """Count a failure if it is a guess, give back what was counted if it is none, and tell."""
    if failure not in _GUESSES:
        _release(state)
    elif state.taken is None:
        # wrong without a question
        attempts, address = state.authenticator.attempts, engine.session.client.address
        state.delay = attempts.delay(address)
        attempts.failed(state.exchange.user if state.exchange is not None else "", address)
    state.taken = None
    if failure is not Failure.CANCELLED:
        state.failures += 1
        fields = {**_fields(engine, state.exchange), "reason": failure.value}
        engine.context.emit("auth.failed", {**fields, "detail": detail} if detail else fields)


def _release(state: AuthState) -> None:
    taken, state.taken = state.taken, None
    if taken is not None:
        state.authenticator.attempts.give_back(taken)


def _later(state: AuthState, answer: Answer) -> Answer:
    """Give `answer` when `delay` seconds have passed since the question, so that the time it took to find tells nothing (AUT-04)."""
    rest = state.asked + state.delay - state.authenticator.monotonic()
    return answer if rest <= 0 else Waiting(asyncio.sleep(rest), lambda _: answer)


def _fields(engine: SessionEngine, exchange: Exchange | None) -> dict[str, object]:
    session = engine.session
    fields: dict[str, object] = {
        "session": session.id,
        "client": session.client.address,
        "listener": session.listener,
    }
    if exchange is not None:
        fields |= {"mechanism": exchange.mechanism, "user": exchange.user}
    return fields


def _state(engine: SessionEngine) -> AuthState:
    if engine.auth is None:
        raise InvariantError("an exchange without its state")
    return engine.auth


def _link(engine: SessionEngine) -> Link:
    tls = engine.session.tls
    if tls is None:
        return Link()
    # tls-exporter (RFC 9266) is missing: Python's ssl does not give what it is made of
    known = {"tls-server-end-point": tls.end_point, "tls-unique": tls.unique}
    bindings = {name: octets for name, octets in known.items() if octets}
    return Link(secured=True, bindings=bindings, certificate=_accounts(tls.peer))


def _accounts(peer: PeerCertificate | None) -> tuple[str, ...]:
    """Return the names of a verified certificate that may be accounts, mail addresses first."""
    if peer is None:
        return ()
    # a "?" stands for what could not be kept as it was: such a name is nobody's
    names = [name for name in peer.names if "?" not in name]
    return tuple(sorted(names, key=lambda name: "@" not in name))
