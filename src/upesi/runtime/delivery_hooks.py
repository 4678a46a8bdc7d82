"""The delivery side of the plugin contract: chains of hooks as the callables that the scheduler asks, and `resolve` around the router.

Failures have been contained, timed and turned into `on_error` by the chain (`hooks.chain`); here a verdict of failure becomes "later".
A point without hooks becomes None, so that delivery spends nothing on it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar, cast

import msgspec

from upesi.delivery.policies import TlsPolicies
from upesi.delivery.routing import host_of
from upesi.dns.cache import TtlCache
from upesi.hooks.chain import Chain
from upesi.hooks.guard import Emit
from upesi.hooks.points import Report
from upesi.hooks.registry import Hooks
from upesi.hooks.verdict import Verdict
from upesi.mail.outcome import Outcome, OutcomeKind
from upesi.mail.route import HostRoute, MxRoute, Route, check_route, requiring_tls
from upesi.scheduler.hooks import AttemptAnswer, DeliveryHooks, Postpone
from upesi.scheduler.work import Destination, Router, Unroutable
from upesi.spool.records import Delivery, StoredMessage

__all__ = ["HookedRouter", "delivery_hooks", "hooked_router"]

A = TypeVar("A")
B = TypeVar("B")

# Seconds for which a plugin's answer about a domain stands: the scheduler asks again that often for paths in use
FRESH = 60.0
# Next hops of a domain, as for MX records (DNS-04)
MAX_HOSTS = 20
# Octets of a site key in clear; it is in every row of the queue
MAX_SITE = 200

_PUT_OFF = Outcome(OutcomeKind.DEFERRED, 0, "4.7.0", "put off by a plugin")
_FAILED = Outcome(OutcomeKind.DEFERRED, 0, "4.3.0", "a plugin that must be asked about delivery failed")
_NO_HOSTS = Outcome(OutcomeKind.DEFERRED, 0, "4.4.4", "a plugin knows no next hop for this domain")


def delivery_hooks(hooks: Hooks) -> DeliveryHooks | None:
    """Return what the scheduler is to ask; None where no plugin has a hook there."""
    chains = (hooks.attempt, hooks.delivered, hooks.deferred, hooks.bounced)
    if not any(chain.hooks for chain in chains):
        return None
    return DeliveryHooks(
        _attempt(hooks.attempt),
        _asking(hooks.delivered, _nothing),
        _asking(hooks.deferred, _seconds),
        _asking(hooks.bounced, _suppresses),
    )


def _asking(chain: Chain[A], meaning: Callable[[object], B]) -> Callable[..., B | Awaitable[B]] | None:
    """Return a function that runs `chain` and says what its answer means; None for a point without hooks."""
    if not chain.hooks:
        return None

    def ask(*arguments: object) -> B | Awaitable[B]:
        answer = chain.call(*arguments)
        if answer is not None and isinstance(answer, Awaitable):
            return _later(answer, meaning)
        return meaning(answer)

    return ask


def _attempt(
    chain: Chain[A],
) -> Callable[[StoredMessage, Delivery], AttemptAnswer | Awaitable[AttemptAnswer]] | None:
    """Return the same for `attempt`: a new route of a message with REQUIRETLS keeps that promise (RFC 8689 section 4.2.1)."""
    ask = _asking(chain, _advice)
    strict = _asking(chain, _strict_advice)
    if ask is None or strict is None:
        return None

    def choose(message: StoredMessage, delivery: Delivery) -> AttemptAnswer | Awaitable[AttemptAnswer]:
        return (strict if message.transmission.requiretls else ask)(message, delivery)

    return choose


async def _later(awaitable: Awaitable[object], meaning: Callable[[object], B]) -> B:
    return meaning(await awaitable)


def _nothing(_answer: object) -> None:
    return None


def _advice(answer: object) -> AttemptAnswer:
    if isinstance(answer, Verdict):
        return Postpone(_FAILED)
    if isinstance(answer, float):
        return Postpone(_PUT_OFF, answer)
    return cast("Route | None", answer)


def _strict_advice(answer: object) -> AttemptAnswer:
    advice = _advice(answer)
    return advice if advice is None or isinstance(advice, Postpone) else requiring_tls(advice)


def _seconds(answer: object) -> float | None:
    return float(answer) if isinstance(answer, float) else None


def _suppresses(answer: object) -> bool:
    return answer is Report.SUPPRESS


def hooked_router(
    router: Router, hooks: Hooks, emit: Emit, now: Callable[[], float], policies: TlsPolicies, cache_size: int
) -> Router:
    """Return `router` itself, or one that asks the `resolve` hooks first where there are any. `now` gives monotonic seconds."""
    return HookedRouter(router, hooks, emit, now, policies, cache_size) if hooks.resolve.hooks else router


class HookedRouter:
    """A Router whose domains plugins may resolve; what they have no opinion on goes by MX.

    Fixed routes and address literals are not asked about. What a plugin's host says of TLS counts, else what the route says,
    else the configuration, for the domain.
    """

    __slots__ = ("_chain", "_emit", "_hosts", "_policies", "_router")

    def __init__(
        self,
        router: Router,
        hooks: Hooks,
        emit: Emit,
        now: Callable[[], float],
        policies: TlsPolicies,
        cache_size: int,
    ) -> None:
        self._router = router
        self._chain = hooks.resolve
        self._emit = emit
        self._policies = policies
        # domain -> next hops; none where no plugin has an opinion
        self._hosts: TtlCache[str, tuple[HostRoute, ...]] = TtlCache(cache_size, now)

    def site(self, route: Route) -> str | None:
        """Return the queue key of `route` if nobody must be asked for it."""
        if not isinstance(route, MxRoute) or route.domain.startswith("["):
            return self._router.site(route)
        hosts = self._hosts.get(route.domain)
        if hosts is None:
            return None
        return self._site(hosts, route) if hosts else self._router.site(route)

    async def resolve(self, route: Route) -> Destination:
        """Return the destination of `route`; raise Unroutable."""
        if not isinstance(route, MxRoute) or route.domain.startswith("["):
            return await self._router.resolve(route)
        answer = self._chain.call(route.domain)
        hosts = self._checked(await answer if isinstance(answer, Awaitable) else answer)
        self._hosts.put(route.domain, hosts, FRESH)
        if not hosts:
            return await self._router.resolve(route)
        # the order is the plugin's, each host before the next; it may name private addresses, as a configured route may
        found = tuple(
            host_of(host, self._policies.policy(host), n) for n, host in enumerate(self._placed(hosts, route))
        )
        return Destination(self._site(hosts, route), route, found)

    def _placed(self, hosts: tuple[HostRoute, ...], route: MxRoute) -> tuple[HostRoute, ...]:
        """Return `hosts` with what they do not say themselves, and the route does."""
        if route.tls is None and not route.requiretls and self._policies.plain:
            return hosts
        policy = self._policies.own(route)
        return tuple(
            msgspec.structs.replace(host, tls=host.tls or policy, requiretls=route.requiretls) for host in hosts
        )

    def _site(self, hosts: tuple[HostRoute, ...], route: MxRoute) -> str:
        """Return the key of a set of hosts; one host is the same site as a route that names it, and shares its limits."""
        names = sorted({f"{host.host}:{host.port}{self._policies.mark(host)}" for host in self._placed(hosts, route)})
        if len(names) == 1:
            return f"host:{names[0]}"
        key = "hosts:" + ",".join(names)
        return key if len(key) <= MAX_SITE else "hosts:#" + hashlib.sha256(key.encode()).hexdigest()[:40]

    def _checked(self, answer: object) -> tuple[HostRoute, ...]:
        """Return the hosts of an answer, none where it is no opinion; raise Unroutable for a failure, and for what is no list of hosts."""
        if answer is None:
            return ()
        if isinstance(answer, Verdict):
            raise Unroutable(_FAILED)
        try:
            hosts = tuple(cast("Sequence[object]", answer))[:MAX_HOSTS]
        except BaseException:
            # a list of the plugin's own, which fails when it is read
            hosts = (None,)
        if reason := _fault(hosts):
            plugins = ", ".join(hook.guard.name for hook in self._chain.hooks)
            self._emit("plugin.failed", {"plugin": plugins, "hook": "resolve", "reason": reason})
            raise Unroutable(_FAILED)
        if not hosts:
            # neither "by MX" (that is None) nor "bounce it" was said
            raise Unroutable(_NO_HOSTS)
        return cast("tuple[HostRoute, ...]", hosts)


def _fault(hosts: tuple[object, ...]) -> str:
    # by type and not by isinstance: an object of the plugin's own says of itself what it likes
    if not all(type(host) is HostRoute for host in hosts):
        return "answered a list of other things than HostRoute"
    try:
        for host in hosts:
            check_route(host)
    except TypeError as error:
        return f"answered {error}"
    return ""
