"""What the tests of mechanisms share: circumstances that never change, and a driver that plays source and client."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Callable, Iterable
from typing import Any

from upesi.sasl.circumstances import Circumstances, Link
from upesi.sasl.credentials import Identity
from upesi.sasl.mechanisms import MECHANISMS
from upesi.sasl.steps import Answer, Challenge, Exchange, MechanismFailed, Question

HASHES = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}
ANNA = Identity("anna", ("anna@example.org", "@anna.example"))


def circumstances(nonce: str = "abcdefghijklmnopqrstuvwx", now: float = 1896.697170952, **link: Any) -> Circumstances:
    return Circumstances(Link(**{"secured": True, **link}), "postoffice.example.net", lambda: nonce, b"s" * 32, now)


class Play:
    """What happened in one exchange: challenges sent, questions asked, and the outcome."""

    def __init__(self) -> None:
        self.challenges: list[bytes] = []
        self.questions: list[Question] = []
        self.outcome: Identity | str = "unfinished"
        self.detail = ""


def play(
    mechanism: str,
    initial: bytes | None,
    responses: Iterable[bytes | Callable[[bytes], bytes]] = (),
    answer: Answer | Callable[[Question], Answer] = ANNA,
    here: Circumstances | None = None,
    *,
    whole: bool = True,
) -> Play:
    """Run an exchange: `responses` answer challenges in turn (or are made from them), `answer` every question.

    `whole` requires that the exchange lasted for all of them.
    """
    played = Play()
    rest = iter(responses)
    exchange = Exchange(mechanism, MECHANISMS[mechanism].begin(initial, here or circumstances()))
    try:
        step = exchange.begin()
        while not isinstance(step, Identity):
            if isinstance(step, Challenge):
                played.challenges.append(step.data)
                try:
                    response = next(rest)
                except StopIteration:
                    return played
                step = exchange.respond(response(step.data) if callable(response) else response)
            else:
                played.questions.append(step)
                step = exchange.answer(answer(step) if callable(answer) else answer)
        played.outcome = step
    except MechanismFailed as failed:
        played.outcome = failed.failure.value
        played.detail = failed.detail
    assert not whole or not list(rest), "the exchange ended early"
    return played


class ScramClient:
    """The client's side, honest unless told otherwise: `first` is its first message, the call makes the final one."""

    def __init__(
        self, mechanism: str, user: str = "anna", password: str = "pencil", header: str = "n,,", binding: bytes = b"",
        nonce: str = "rOprNGfwEbeRWgbNEkqO",
    ) -> None:  # fmt: skip
        self.hash = HASHES[mechanism.removesuffix("-PLUS")]
        self.password, self.header, self.binding, self.nonce = password, header, binding, nonce
        self.bare = f"n={user},r={nonce}"
        self.server_first = ""
        self.expected = b""

    @property
    def first(self) -> bytes:
        return (self.header + self.bare).encode()

    def final(
        self,
        challenge: bytes,
        *,
        nonce: Callable[[str], str] = lambda n: n,
        proof: Callable[[bytes], bytes] = lambda p: p,
    ) -> bytes:
        self.server_first = challenge.decode()
        parts = dict(part.split("=", 1) for part in self.server_first.split(","))
        salted = hashlib.pbkdf2_hmac(self.hash, self.password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
        client_key = hmac.digest(salted, b"Client Key", self.hash)
        channel = base64.b64encode(self.header.encode() + self.binding).decode()
        unproved = f"c={channel},r={nonce(parts['r'])}"
        message = f"{self.bare},{self.server_first},{unproved}".encode()
        signature = hmac.digest(hashlib.new(self.hash, client_key).digest(), message, self.hash)
        proved = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self.expected = b"v=" + base64.b64encode(
            hmac.digest(hmac.digest(salted, b"Server Key", self.hash), message, self.hash)
        )
        return f"{unproved},p={base64.b64encode(proof(proved)).decode()}".encode()
