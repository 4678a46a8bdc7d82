"""What passes between a mechanism and whoever drives it (RFC 4422 section 3): challenges, questions, answers and the outcome.

A mechanism is a generator. It yields a `Challenge`, and is sent the client's response; or it yields a question about credentials, and is
sent the answer; it returns the `Identity` that it let in, or raises `MechanismFailed`. So it is pure: octets in, octets out, no
clock, no chance of its own, nothing awaited; and its text reads in the order in which it happens. `Exchange` is how it is driven.

No `repr` here shows a secret: these values stand in tracebacks.
"""

from __future__ import annotations

import enum
from collections.abc import Generator
from typing import TypeAlias

import msgspec

from upesi.mail.errors import InvariantError
from upesi.sasl.credentials import Ability, Identity, Reason, Refused, ScramKeys, SharedSecret, Unavailable
from upesi.sasl.saslprep import PrepError, saslprep

__all__ = [
    "MAX_PASSWORD",
    "MAX_USER",
    "Answer",
    "Challenge",
    "CheckPassword",
    "CheckToken",
    "Confirm",
    "Exchange",
    "Failure",
    "FetchKeys",
    "MechanismFailed",
    "Question",
    "Step",
    "Steps",
    "admitted",
    "authorized",
    "challenge",
    "decoded",
    "prepared_password",
    "prepared_user",
]

# an address has 254 characters at most; no directory that we know takes longer names
MAX_USER = 255
# longer than any pass phrase; what is hashed at our cost must have a bound
MAX_PASSWORD = 1024


class Failure(enum.Enum):
    """How an exchange fails."""

    MALFORMED = "malformed"
    CANCELLED = "cancelled"
    WRONG = "wrong credentials"
    DISABLED = "account disabled"
    EXPIRED = "password expired"
    UNAVAILABLE = "no answer"
    LOCKED = "locked"
    DENIED = "denied"


class MechanismFailed(Exception):
    """The exchange is over; `detail` is for the operator's log and holds nothing that the client sent."""

    def __init__(self, failure: Failure, detail: str = "") -> None:
        super().__init__(detail or failure.value)
        self.failure = failure
        self.detail = detail


class Challenge(msgspec.Struct, frozen=True):
    """Octets for the client. `refusal` says that the exchange has failed, and that this is how the client begins to hear of it."""

    data: bytes
    refusal: Failure | None = None

    def __repr__(self) -> str:
        return f"Challenge({len(self.data)} octets)"


class CheckPassword(msgspec.Struct, frozen=True):
    """Is this the password of this user? Answered with Identity, Refused or Unavailable."""

    user: str
    password: str

    def __repr__(self) -> str:
        return f"CheckPassword({self.user!r})"


class FetchKeys(msgspec.Struct, frozen=True):
    """What is stored for this user and mechanism? Answered as `Credentials.stored` is."""

    user: str
    ability: Ability


class Confirm(msgspec.Struct, frozen=True):
    """Is this name, which was proved, an account of ours? Answered with Identity, Refused or Unavailable."""

    user: str


class CheckToken(msgspec.Struct, frozen=True):
    """Whose token is this? `user` is who the client says it is, "" where it does not. Answered with Identity, Refused or Unavailable."""

    user: str
    token: str

    def __repr__(self) -> str:
        return f"CheckToken({self.user!r})"


Question = CheckPassword | FetchKeys | Confirm | CheckToken
Answer = Identity | Refused | Unavailable | ScramKeys | SharedSecret | None
Step = Challenge | Question
Steps: TypeAlias = Generator[Step, bytes | Answer, Identity]


class Exchange:
    """One AUTH command's dialogue. `user` is whom it is about, as soon as that is known, for limits and the log."""

    __slots__ = ("_steps", "mechanism", "user")

    def __init__(self, mechanism: str, steps: Steps) -> None:
        self.mechanism = mechanism
        self.user = ""
        self._steps = steps

    def begin(self) -> Step | Identity:
        """Return the first step; raise MechanismFailed."""
        return self._advance(None)

    def respond(self, response: bytes) -> Step | Identity:
        """Hand in the client's answer to a challenge and return what is next; raise MechanismFailed."""
        return self._advance(response)

    def answer(self, answer: Answer) -> Step | Identity:
        """Hand in the answer to a question and return what is next; raise MechanismFailed."""
        return self._advance(answer)

    def _advance(self, given: bytes | Answer) -> Step | Identity:
        try:
            step = self._steps.send(given)
        except StopIteration as end:
            identity: Identity = end.value
            return identity
        if not isinstance(step, Challenge) and step.user:
            self.user = step.user
        return step


# -- what the mechanisms share


def challenge(data: bytes, refusal: Failure | None = None) -> Generator[Step, bytes | Answer, bytes]:
    """Send `data` and return the response."""
    given = yield Challenge(data, refusal)
    if not isinstance(given, bytes):
        raise InvariantError("a challenge is answered with octets")
    return given


def decoded(data: bytes) -> str:
    """Return the UTF-8 text of `data`; raise MechanismFailed."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise MechanismFailed(Failure.MALFORMED, "not UTF-8") from None


def prepared_user(user: str) -> str:
    """Return a user name as sources know it; raise MechanismFailed."""
    return _prepared(user, MAX_USER, "user")


def prepared_password(password: str) -> str:
    """Return a password as sources compare it; raise MechanismFailed."""
    return _prepared(password, MAX_PASSWORD, "password")


def _prepared(text: str, limit: int, what: str) -> str:
    if len(text) > limit:
        raise MechanismFailed(Failure.MALFORMED, f"{what} too long")
    try:
        return saslprep(text)
    except PrepError as error:
        raise MechanismFailed(Failure.MALFORMED, f"{what}: {error}") from None


_FAILURES = {Reason.WRONG: Failure.WRONG, Reason.DISABLED: Failure.DISABLED, Reason.EXPIRED: Failure.EXPIRED}


def admitted(answer: bytes | Answer) -> Identity:
    """Return who was let in; raise MechanismFailed for any other answer of a source."""
    if isinstance(answer, Identity):
        return answer
    if isinstance(answer, Refused):
        raise MechanismFailed(_FAILURES[answer.reason])
    if isinstance(answer, Unavailable):
        raise MechanismFailed(Failure.UNAVAILABLE, answer.cause)
    # AUT-07: what is not surely a yes is none
    raise MechanismFailed(Failure.UNAVAILABLE, f"the source answered {type(answer).__name__}")


def authorized(identity: Identity, user: str, authzid: str) -> Identity:
    """Return `identity` if it may act as `authzid`: as itself under any of its names, as nobody else; raise MechanismFailed."""
    if authzid and prepared_user(authzid) not in (user, identity.name, *identity.addresses):
        raise MechanismFailed(Failure.WRONG, "asked to act as another user")
    return identity
