"""Makes the verifier of bearer tokens that `[auth.oauth]` asks for. Nothing is connected here; the secret's file is read."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from upesi.config.problems import wrong
from upesi.config.settings import AuthSettings
from upesi.http.urls import url_problem
from upesi.lookup.private import FileRefused, read_secret
from upesi.sasl.authenticator import Tokens
from upesi.sasl.tokens.asking import Http
from upesi.sasl.tokens.claims import ClaimRules
from upesi.sasl.tokens.introspection import IntrospectedTokens

__all__ = ["make_tokens"]


def make_tokens(auth: AuthSettings, web: Callable[[], Http], monotonic: Callable[[], float]) -> Tokens | None:
    """Return the verifier, None where tokens are not wanted; raise UpesiError for what cannot be used.

    `web` gives the HTTP client, which is made when somebody needs it.
    """
    oauth = auth.oauth
    if not (oauth.introspection or oauth.keys):
        return None
    rules = ClaimRules(
        names=oauth.names,
        issuer=oauth.issuer,
        audience=oauth.audience,
        scope=oauth.scope,
        leeway=float(oauth.leeway),
    )
    try:
        if oauth.introspection:
            _check(oauth.introspection, "introspection")
            client = (oauth.client_id, _secret(oauth.client_secret_file) if oauth.client_id else "")
            timeout = float(auth.timeout)
            return IntrospectedTokens(web(), oauth.introspection, client, rules, timeout=timeout, now=time.time)
        _check(oauth.keys, "keys")
        return _signed(auth, web, rules, monotonic)
    except ModuleNotFoundError as error:
        text = f"needs {error.name}, which is not installed: pip install 'upesi[oauth]'"
        raise wrong("auth.oauth", text) from None


def _signed(auth: AuthSettings, web: Callable[[], Http], rules: ClaimRules, monotonic: Callable[[], float]) -> Tokens:
    # its library is an extra
    from upesi.sasl.tokens.signed import SignedTokens

    timeout = float(auth.timeout)
    return SignedTokens(web(), auth.oauth.keys, rules, timeout=timeout, now=time.time, monotonic=monotonic)


def _secret(file: str) -> str:
    try:
        return read_secret(Path(file))
    except FileRefused as error:
        raise wrong("auth.oauth.client_secret_file", str(error)) from error


def _check(url: str, key: str) -> None:
    problem = url_problem(url)
    if problem:
        raise wrong(f"auth.oauth.{key}", problem)
