"""Authentication for the sessions of one listener: what is offered, how exchanges begin, who is asked, and how long that may take.

What is asked of sources comes through here, so that no source can hang a session, end one with an exception or be taken for a yes
when it said something else (AUT-07). It knows no replies and no hooks: those are the session's.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from typing import Protocol

import msgspec

from upesi.sasl.attempts import Attempts
from upesi.sasl.circumstances import Circumstances, Link
from upesi.sasl.credentials import Ability, Credentials, Identity, Origin, Refused, Unavailable
from upesi.sasl.mechanisms import MECHANISMS, Mechanism
from upesi.sasl.steps import Answer, CheckPassword, CheckToken, Exchange, FetchKeys, Question

__all__ = ["Authenticator", "AuthenticatorSettings", "Tokens"]


# 144 bits, and no padding in base64
_NONCE_OCTETS = 18


class Tokens(Protocol):
    """Whose token is it?"""

    async def verify(self, token: str, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        """Say whose `token` this is; `user` is whom the client claims to be, "" where it does not say."""
        ...


class AuthenticatorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """`mechanisms` in no order; `without_tls` offers them on links that anybody can read; `timeout` in seconds, for one question."""

    hostname: str
    mechanisms: frozenset[str]
    max_failures: int
    timeout: float
    without_tls: bool = False


class Authenticator:
    """Made once for each listener that has AUTH.

    `judged_by_plugins` says that some plugin may know passwords, so that they are asked for even without a source.
    """

    __slots__ = (
        "_asking",
        "_judged_by_plugins",
        "_now",
        "_offers",
        "_random",
        "_secret",
        "_source",
        "_tokens",
        "attempts",
        "monotonic",
        "settings",
    )

    def __init__(
        self,
        settings: AuthenticatorSettings,
        source: Credentials | None,
        tokens: Tokens | None,
        attempts: Attempts,
        *,
        random: Callable[[int], bytes],
        secret: bytes,
        now: Callable[[], float],
        monotonic: Callable[[], float],
        judged_by_plugins: bool = False,
    ) -> None:
        self.settings = settings
        self.attempts = attempts
        self.monotonic = monotonic
        self._source = source
        self._tokens = tokens
        self._random = random
        self._secret = secret
        self._now = now
        self._judged_by_plugins = judged_by_plugins
        # the loop itself holds tasks weakly
        self._asking: set[asyncio.Task[Answer]] = set()
        self._offers = tuple(one for one in MECHANISMS.values() if self._served(one))

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """What can be served at all, whatever the link."""
        return tuple(mechanism.name for mechanism in self._offers)

    def allowed_on(self, link: Link) -> bool:
        """Whether anything may be said about secrets on this link."""
        return link.secured or self.settings.without_tls

    def offered(self, link: Link) -> tuple[str, ...]:
        """Return the names of what can be used on this link now."""
        if not self.allowed_on(link):
            return ()
        return tuple(mechanism.name for mechanism in self._offers if _fits(mechanism, link))

    def exchange(self, mechanism: str, initial: bytes | None, link: Link) -> Exchange:
        """Make the exchange of an offered `mechanism`."""
        if not any(mechanism.binding for mechanism in self._offers):
            # who cannot bind must not take a client's "you cannot" for somebody's lie
            link = msgspec.structs.replace(link, bindings={})
        circumstances = Circumstances(link, self.settings.hostname, self._nonce, self._secret, self._now())
        return Exchange(mechanism, MECHANISMS[mechanism].begin(initial, circumstances))

    def _nonce(self) -> str:
        return base64.b64encode(self._random(_NONCE_OCTETS)).decode()

    def ask(self, question: Question, origin: Origin, told: Callable[[Answer], None]) -> Awaitable[Answer]:
        """Ask at once; return what gives the answer to `question`, within the bound.

        Whoever is asked is heard to the end, even where the client leaves and nobody awaits it any more: `told` gets the
        answer first. How many are asked at a time for clients that left is bounded by what `attempts` counts.
        """
        task = asyncio.get_running_loop().create_task(self._within_bound(question, origin))
        self._asking.add(task)
        task.add_done_callback(self._asking.discard)
        task.add_done_callback(lambda done: None if done.cancelled() else told(done.result()))
        return _shielded(task)

    async def _within_bound(self, question: Question, origin: Origin) -> Answer:
        try:
            async with asyncio.timeout(self.settings.timeout):
                return await self._put(question, origin)
        except TimeoutError:
            return Unavailable("no answer in time")
        except Exception as error:
            # not even its text: nobody knows what a source puts into it
            return Unavailable(f"raised {type(error).__name__}")

    async def _put(self, question: Question, origin: Origin) -> Answer:
        source = self._source
        if isinstance(question, CheckToken):
            return await self._token(question, origin)
        if source is None:
            # only plugins judge here, and none did
            return Refused()
        if isinstance(question, CheckPassword):
            return await source.verify(question.user, question.password, origin)
        if isinstance(question, FetchKeys):
            return await source.stored(question.user, question.ability, origin)
        return await source.known(question.user, origin)

    async def _token(self, question: CheckToken, origin: Origin) -> Answer:
        if self._tokens is None:
            return Refused()
        owner = await self._tokens.verify(question.token, question.user, origin)
        source = self._source
        if isinstance(owner, Identity) and source is not None and Ability.KNOWN in source.abilities:
            # the issuer knows more people than we have accounts
            return await source.known(owner.name, origin)
        return owner

    def _served(self, mechanism: Mechanism) -> bool:
        if mechanism.name not in self.settings.mechanisms:
            return False
        if mechanism.ability is None:
            return self._tokens is not None
        if mechanism.password and self._judged_by_plugins:
            return True
        return self._source is not None and mechanism.ability in self._source.abilities


async def _shielded(task: asyncio.Task[Answer]) -> Answer:
    return await asyncio.shield(task)


def _fits(mechanism: Mechanism, link: Link) -> bool:
    return not (mechanism.binding and not link.bindings) and not (mechanism.certificate and not link.certificate)
