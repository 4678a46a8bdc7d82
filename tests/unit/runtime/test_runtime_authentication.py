"""What is made of `[auth]`: sender rules from a file, the server's secret, tokens; and configurations that make no sense."""

from __future__ import annotations

import stat
import threading
from pathlib import Path

import pytest

from upesi.config.authentication import check_auth
from upesi.config.loading import load
from upesi.config.problems import ConfigError
from upesi.config.settings import AuthMechanism, AuthSettings, OauthSettings, SenderRule
from upesi.config.units import Duration
from upesi.mail.address import Address
from upesi.mail.errors import UpesiError
from upesi.runtime.authentication import _server_secret, sender_rules
from upesi.runtime.check import check
from upesi.runtime.tokens import make_tokens
from upesi.sasl.credentials import Identity
from upesi.sasl.mechanisms import MECHANISMS
from upesi.sasl.tokens.introspection import IntrospectedTokens
from upesi.sasl.tokens.signed import SignedTokens


def test_the_configuration_knows_the_mechanisms_that_there_are() -> None:
    """`auth.mechanisms` and the table of mechanisms have the same names; CRAM-MD5 is off until it is asked for."""
    assert {mechanism.value for mechanism in AuthMechanism} == set(MECHANISMS)
    assert set(AuthMechanism) - set(AuthSettings().mechanisms) == {AuthMechanism.CRAM_MD5}


def test_the_secret_is_made_once_and_kept(tmp_path: Path) -> None:
    """AUT-04: made-up SCRAM keys are the same for all workers and over restarts; nobody else can read what they are made of."""
    found: list[bytes] = []
    threads = [threading.Thread(target=lambda: found.append(_server_secret(tmp_path))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(found)) == 1
    assert len(found[0]) == 32
    assert _server_secret(tmp_path) == found[0]
    assert stat.S_IMODE((tmp_path / "auth.secret").stat().st_mode) == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["auth.secret"]
    (tmp_path / "auth.secret").write_bytes(b"short")
    with pytest.raises(UpesiError, match="damaged"):
        _server_secret(tmp_path)


def test_sender_rules_read_their_file(tmp_path: Path) -> None:
    """`auth.sender_map`: further addresses; a mistake names the file and the line."""
    file = tmp_path / "senders"
    file.write_text("# who\nanna: office@example.net\n")
    rules = sender_rules(AuthSettings(sender_map=str(file)))
    assert rules.refuse_path(Identity("anna"), Address.parse("office@example.net")) is None
    assert rules.refuse_path(Identity("bert"), Address.parse("office@example.net")) is not None
    for text in ("anna office@example.net\n", "anna: x\n"):
        file.write_text(text)
        with pytest.raises(ConfigError, match=r"senders.*line 1"):
            sender_rules(AuthSettings(sender_map=str(file)))
    with pytest.raises(ConfigError, match="cannot be read"):
        sender_rules(AuthSettings(sender_map=str(tmp_path / "missing")))


@pytest.mark.parametrize(
    ("auth", "key"),
    [
        (AuthSettings(mechanisms=(AuthMechanism.PLAIN, AuthMechanism.PLAIN)), "mechanisms"),
        (AuthSettings(delay=Duration(9), longest_delay=Duration(3)), "longest_delay"),
        (AuthSettings(oauth=OauthSettings(introspection="https://a.example", keys="https://b.example")), "keys"),
        (AuthSettings(oauth=OauthSettings(keys="https://b.example", issuer="x")), "oauth"),
        (AuthSettings(oauth=OauthSettings(keys="https://b.example", audience="x")), "oauth"),
        (AuthSettings(oauth=OauthSettings(introspection="https://b.example", client_id="x")), "oauth"),
        (AuthSettings(oauth=OauthSettings(client_id="x", client_secret_file="y")), "client_id"),
        (AuthSettings(oauth=OauthSettings(introspection="https://b.example", names=())), "names"),
    ],
)
def test_what_makes_no_sense_is_said(auth: AuthSettings, key: str) -> None:
    """Values that are right each by itself, and not together."""
    assert key in [part for path, _ in check_auth(auth) for part in path]
    assert list(check_auth(AuthSettings(senders=SenderRule.ANY))) == []


def _no_web() -> object:
    return None


def test_tokens_are_made_as_configured(tmp_path: Path) -> None:
    """`[auth.oauth]`: off, introspection, keys; a secret that others can read, and plain http to another machine, are refused."""
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    secret.chmod(0o600)

    def made(**given: str) -> object:
        return make_tokens(AuthSettings(oauth=OauthSettings(**given)), _no_web, lambda: 0.0)  # type: ignore[arg-type]

    assert made() is None
    asked = made(introspection="https://a.example/i", client_id="me", client_secret_file=str(secret))
    assert isinstance(asked, IntrospectedTokens)
    assert isinstance(made(keys="https://a.example/k", issuer="i", audience="a"), SignedTokens)
    with pytest.raises(ConfigError, match=r"auth\.oauth\.keys"):
        made(keys="http://a.example/k", issuer="i", audience="a")
    with pytest.raises(ConfigError, match=r"auth\.oauth\.introspection"):
        made(introspection="ftp://a.example/i")
    secret.chmod(0o644)
    with pytest.raises(UpesiError) as caught:
        made(introspection="https://a.example/i", client_id="me", client_secret_file=str(secret))
    assert "s3cret" not in str(caught.value)


def test_files_are_found_beside_the_configuration(tmp_path: Path) -> None:
    """Relative paths are relative to the folder of the file; a start with a file that cannot be used is refused."""
    file = tmp_path / "upesi.toml"
    file.write_text(
        '[spool]\npath = "spool"\n[auth]\nsender_map = "senders"\n[auth.oauth]\nintrospection = "https://a.example"\n'
        'client_id = "x"\nclient_secret_file = "secret"\n'
    )
    auth = load(file).auth
    assert (auth.sender_map, auth.oauth.client_secret_file) == (str(tmp_path / "senders"), str(tmp_path / "secret"))
    with pytest.raises(UpesiError, match="senders"):
        check(file, ())
    (tmp_path / "senders").write_text("anna: @example.org\n")
    with pytest.raises(UpesiError, match="secret"):
        check(file, ())
