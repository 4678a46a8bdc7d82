"""What the tests of AUTH share: credentials in memory, counters in memory, and a dialogue that is under TLS."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable
from typing import Any

from tests.unit.session.sessionkit import NOW, Dialogue

from upesi.config.units import Duration, Rate
from upesi.mail.security import TlsInfo
from upesi.protocol.smtp.limits import ServerLimits
from upesi.sasl.acquaintances import Acquaintances
from upesi.sasl.attempts import AttemptRules, Attempts
from upesi.sasl.authenticator import Authenticator, AuthenticatorSettings, Tokens
from upesi.sasl.credentials import Ability, Identity, Origin, Refused, ScramKeys, SharedSecret, Unavailable
from upesi.sasl.mechanisms import MECHANISMS

CANARY = "canary-7d1fpassword"
ANNA = Identity("anna", ("anna@example.org", "@anna.example"))
PROMPT = Duration(0)


class MemoryCredentials:
    """Passwords in a table. `trouble` is what every question is answered with; `asked` is what was asked."""

    def __init__(self, **passwords: str) -> None:
        self.passwords = passwords or {"anna": CANARY}
        self.identities = {"anna": ANNA}
        self.abilities = frozenset(Ability)
        self.trouble: Refused | Unavailable | BaseException | Callable[[], Awaitable[Any]] | None = None
        self.asked: list[tuple[str, str]] = []
        self.origins: list[Origin] = []
        self.keys: dict[tuple[str, Ability], ScramKeys] = {}

    def identity(self, user: str) -> Identity:
        return self.identities.get(user, Identity(user))

    async def _trouble(self, what: str, user: str, origin: Origin) -> Any:
        self.asked.append((what, user))
        self.origins.append(origin)
        if isinstance(self.trouble, BaseException):
            raise self.trouble
        if callable(self.trouble):
            return await self.trouble()
        return self.trouble

    async def verify(self, user: str, password: str, origin: Origin) -> Identity | Refused | Unavailable:
        if (trouble := await self._trouble("verify", user, origin)) is not None:
            return trouble
        return self.identity(user) if self.passwords.get(user) == password else Refused()

    async def stored(
        self, user: str, ability: Ability, origin: Origin
    ) -> ScramKeys | SharedSecret | Refused | Unavailable | None:
        if (trouble := await self._trouble("stored", user, origin)) is not None:
            return trouble
        if ability is Ability.SHARED_SECRET:
            return SharedSecret(self.identity(user), self.passwords[user]) if user in self.passwords else None
        return self.keys.get((user, ability))

    async def known(self, user: str, origin: Origin) -> Identity | Refused | Unavailable:
        if (trouble := await self._trouble("known", user, origin)) is not None:
            return trouble
        return self.identity(user) if user in self.passwords else Refused()


class MemoryCounters:
    """Counts that never end by themselves."""

    def __init__(self) -> None:
        self.counts: dict[bytes, int] = {}

    def add(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        self.counts[key] = self.counts.get(key, 0) + n
        return self.counts[key] <= rate.count

    def take(self, key: bytes, rate: Rate, n: int = 1) -> bool:
        return self.spent(key, rate) + n <= rate.count and self.add(key, rate, n)

    def give_back(self, key: bytes, rate: Rate) -> None:
        if self.counts.get(key, 0) > 1:
            self.counts[key] -= 1
        else:
            self.counts.pop(key, None)

    def spent(self, key: bytes, rate: Rate) -> int:
        return self.counts.get(key, 0)

    def forget(self, key: bytes, rate: Rate) -> None:
        self.counts.pop(key, None)


class MemoryKeys:
    """Keys that never end."""

    def __init__(self) -> None:
        self.values: dict[str, bytes] = {}

    async def get(self, key: str) -> bytes | None:
        return self.values.get(key)

    async def put(self, key: str, value: bytes, lifetime: float) -> None:
        self.values[key] = value


def rules(**changed: Any) -> AttemptRules:
    values: dict[str, Any] = {
        "pair": Rate("none"),
        "network": Rate("none"),
        "account": Rate("none"),
        "delay": PROMPT,
        "longest_delay": PROMPT,
    }
    return AttemptRules(**{**values, **changed})


def authenticator(
    source: Any = None,
    *,
    mechanisms: tuple[str, ...] = tuple(MECHANISMS),
    attempts: AttemptRules | None = None,
    counters: MemoryCounters | None = None,
    keys: MemoryKeys | None = None,
    tokens: Tokens | None = None,
    without_tls: bool = False,
    max_failures: int = 3,
    timeout: float = 10.0,
    plugins: bool = False,
) -> Authenticator:
    return Authenticator(
        AuthenticatorSettings(
            hostname="mx.example.net",
            mechanisms=frozenset(mechanisms),
            max_failures=max_failures,
            timeout=timeout,
            without_tls=without_tls,
        ),
        source,
        tokens,
        Attempts(counters or MemoryCounters(), attempts or rules(), Acquaintances(keys or MemoryKeys(), lambda: 0.0)),
        random=lambda n: b"\x01" * n,
        secret=b"s" * 32,
        now=lambda: NOW,
        monotonic=lambda: 0.0,
        judged_by_plugins=plugins,
    )


class AuthDialogue(Dialogue):
    """A dialogue whose listener has AUTH; the link is TLS unless `tls` is False. Replies that wait are got with `heard_later`."""

    def __init__(
        self,
        source: Any = None,
        *,
        tls: bool = True,
        auth: Authenticator | None = None,
        auth_: Any = None,
        **rest: Any,
    ) -> None:
        """`auth_` is a hook at `auth`, or a tuple of them."""
        given = auth or authenticator(source or MemoryCredentials())
        self.auth = given
        if auth_ is not None:
            rest["auth"] = auth_
        super().__init__(**rest)
        self.context.auth = given
        limits = self.context.limits
        self.context.limits = ServerLimits(
            max_message_size=limits.max_message_size, auth=given.mechanisms, starttls=limits.starttls
        )
        self.connection._protocol._limits = self.context.limits
        if tls:
            self.engine.session.tls = TlsInfo("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)

    async def ask(self, *lines: str | bytes) -> list[str]:
        """Send `lines`, and wait until every command has its answer."""
        said = self.say(*lines)
        while self.connection._task is not None:
            task = self.connection._task
            await asyncio_wait(task)
            said += self.heard()
        while self.spawned:
            await self.spawned.pop(0)
        return said

    async def login(self, user: str = "anna", password: str = CANARY) -> list[str]:
        """Authenticate with PLAIN."""
        return await self.ask("AUTH PLAIN " + plain(user, password))


async def asyncio_wait(task: Any) -> None:
    import asyncio

    await asyncio.wait((task,), timeout=30)
    assert task.done()
    # the connection's own callback runs one turn later
    await asyncio.sleep(0)


def b64(data: bytes | str) -> str:
    return base64.b64encode(data.encode() if isinstance(data, str) else data).decode()


def plain(user: str, password: str, authzid: str = "") -> str:
    return b64(f"{authzid}\0{user}\0{password}")
