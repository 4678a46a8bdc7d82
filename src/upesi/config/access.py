"""Checks of who may say what to the server side: networks that are believed, users and domains that are named."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from upesi.config.fences import WIDEST
from upesi.config.networks import Networks, network
from upesi.config.problems import KeyPath
from upesi.config.settings import Config, ListenerSettings
from upesi.mail.address import AddressError, domain_from
from upesi.mail.headers import MAX_HEADER

__all__ = ["check_access"]

Found = Iterator[tuple[KeyPath, str]]

_TRUSTED = ("proxy", "xclient", "xforward")


def check_access(config: Config) -> Found:
    """Yield what is wrong with lists of networks, users and domains of the server side."""
    for index, listener in enumerate(config.listener):
        yield from _listener(listener, ("listener", index))
    yield from _etrn(config)
    if config.smtp.max_header_size > MAX_HEADER:
        yield ("smtp", "max_header_size"), f"is above {MAX_HEADER}: further than plugins can look"
    if config.smtp.max_messages < 0:
        yield ("smtp", "max_messages"), "cannot be negative (0: as many as a client likes)"


def _listener(listener: ListenerSettings, here: KeyPath) -> Found:
    wrong = False
    for name in _TRUSTED:
        for problem in _networks(getattr(listener, name), (*here, name)):
            wrong = True
            yield problem
    if not wrong and Networks(listener.xclient).overlap(Networks(listener.xforward)):
        yield (*here, "xforward"), "overlaps xclient: a client is believed for everything or for the log"


def _networks(texts: Sequence[str], here: KeyPath) -> Found:
    for index, text in enumerate(texts):
        try:
            found = network(text)
        except ValueError as error:
            yield (*here, index), str(error)
            continue
        if not found.prefixlen:
            yield (*here, index), f"{text} is the whole Internet: anybody could be anybody"
        # two halves of the Internet are all of it; of what is private, fc00::/7 is wider
        elif found.prefixlen < WIDEST[found.version] and not found.is_private:
            yield (*here, index), f"{text} is wider than /{WIDEST[found.version]}: too many to believe"


def _etrn(config: Config) -> Found:
    yield from _networks(config.etrn.networks, ("etrn", "networks"))
    for index, domain in enumerate(config.etrn.domains):
        try:
            domain_from(domain.removeprefix("."))
        except AddressError as error:
            yield ("etrn", "domains", index), f"{domain!r} is no name of a domain: {error}"
    if config.etrn.domains and not (config.etrn.networks or config.etrn.identities):
        yield ("etrn", "domains"), "nobody may ask for them: name networks or identities too"
