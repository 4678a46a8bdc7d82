"""Makes what AUTH needs: one source of credentials and one verifier of tokens for the worker, one authenticator for each listener."""

from __future__ import annotations

import os
import time
from pathlib import Path

from upesi.config.problems import wrong
from upesi.config.settings import AuthSettings, ListenerSettings
from upesi.hooks.tables import ListError, read_list
from upesi.mail.errors import UpesiError
from upesi.runtime.ground import Ground
from upesi.sasl.acquaintances import Acquaintances
from upesi.sasl.attempts import AttemptRules, Attempts
from upesi.sasl.authenticator import Authenticator, AuthenticatorSettings, Tokens
from upesi.sasl.credentials import Credentials
from upesi.session.senders import SenderRules, sender_entries

__all__ = ["Authentication", "sender_rules"]

_SECRET = "auth.secret"
_SECRET_OCTETS = 32


def sender_rules(auth: AuthSettings) -> SenderRules:
    """Return what authenticated users may send as; raise ConfigError where the file of further addresses cannot be used."""
    further: dict[str, tuple[str, ...]] = {}
    if auth.sender_map:
        try:
            further = sender_entries(read_list(auth.sender_map))
        except ListError as error:
            # it names the file
            raise wrong("auth.sender_map", str(error)) from error
        except ValueError as error:
            raise wrong("auth.sender_map", f"{auth.sender_map}: {error}") from error
    return SenderRules(auth.senders, check_header=auth.check_header, further=further)


class Authentication:
    """Who can authenticate with this worker, and as whom they may send: `senders`. Raises UpesiError."""

    def __init__(self, ground: Ground, source: Credentials | None = None, tokens: Tokens | None = None) -> None:
        self._ground = ground
        self.senders = sender_rules(ground.config.auth)
        self._source = source
        self._tokens = tokens
        acquaintances = Acquaintances(ground.keys, ground.loop.time)
        self._attempts = Attempts(ground.counters, _rules(ground.config.auth), acquaintances)
        self._secret = _server_secret(Path(ground.config.spool.path))

    def of(self, listener: ListenerSettings) -> Authenticator | None:
        """Return what authenticates clients of `listener`, None where nobody could judge them or none is to be judged."""
        if not listener.auth.enabled:
            return None
        auth, ground = self._ground.config.auth, self._ground
        made = Authenticator(
            AuthenticatorSettings(
                hostname=ground.config.node.name,
                mechanisms=frozenset(mechanism.value for mechanism in auth.mechanisms),
                max_failures=auth.max_failures,
                timeout=float(auth.timeout),
                without_tls=listener.auth.without_tls,
            ),
            self._source,
            self._tokens,
            self._attempts,
            random=os.urandom,
            secret=self._secret,
            now=time.time,
            monotonic=ground.loop.time,
            judged_by_plugins=bool(ground.hooks.auth.hooks),
        )
        return made if made.mechanisms else None


def _rules(auth: AuthSettings) -> AttemptRules:
    return AttemptRules(
        pair=auth.pair_failures,
        network=auth.network_failures,
        account=auth.account_failures,
        delay=auth.delay,
        longest_delay=auth.longest_delay,
    )


def _server_secret(spool: Path) -> bytes:
    """Return octets that nobody outside knows, the same for all workers and over restarts; raise UpesiError.

    They make up SCRAM keys for users that do not exist: if those changed at a restart, they would show who exists.
    """
    path = spool / _SECRET
    try:
        if not path.exists():
            _write_secret(path)
        secret = path.read_bytes()
    except OSError as error:
        raise UpesiError(f"{path} cannot be used: {error.strerror}") from error
    if len(secret) != _SECRET_OCTETS:
        raise UpesiError(f"{path} is damaged: remove it, and another one is made")
    return secret


def _write_secret(path: Path) -> None:
    """Write a new secret unless another worker is first: whoever reads the file reads a whole one."""
    mine = path.with_name(f"{path.name}.{os.urandom(8).hex()}")
    descriptor = os.open(mine, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.write(descriptor, os.urandom(_SECRET_OCTETS))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(mine, path)
    except FileExistsError:
        pass
    finally:
        mine.unlink()
