"""TLS of the listeners, from their configuration."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest
from tlskit import Authority, write

from upesi.config.problems import ConfigError
from upesi.config.settings import (
    ClientCertificates,
    Config,
    ListenerSettings,
    ListenerTls,
    NodeSettings,
    TlsSettings,
)
from upesi.runtime.readable import Unreadable
from upesi.runtime.security import Security, check_security


def config(folder: Path, *listeners: ListenerSettings, user: str = "") -> Config:
    """A configuration with these listeners and this folder of certificates."""
    return Config(
        node=NodeSettings(name="mx.example.net", user=user),
        listener=listeners or (ListenerSettings(tls=ListenerTls.STARTTLS),),
        tls=TlsSettings(certificates=str(folder)),
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with one good certificate."""
    write(tmp_path / "certificates", "mx.pem", Authority().issue("mx.example.net").both)
    return tmp_path / "certificates"


def securities(given: Config) -> tuple[Security, list[tuple[str, dict[str, object]]]]:
    """The acceptors of a worker, and what was told while they were made."""
    told: list[tuple[str, dict[str, object]]] = []

    async def make() -> Security:
        return Security(given, lambda name, fields: told.append((name, dict(fields))), asyncio.get_running_loop())

    return asyncio.run(make()), told


def test_each_listener_has_what_it_says(folder: Path, tmp_path: Path) -> None:
    """None without TLS; implicit and required as they are called; a folder of its own where it names one."""
    own = write(tmp_path / "own", "own.pem", Authority().issue("own.example").both).parent
    kinds = (ListenerTls.NONE, ListenerTls.STARTTLS, ListenerTls.REQUIRED, ListenerTls.IMPLICIT)
    listeners = [ListenerSettings(tls=kind) for kind in kinds]
    listeners.append(ListenerSettings(tls=ListenerTls.STARTTLS, certificates=str(own)))
    security, told = securities(config(folder, *listeners))
    none, starttls, required, implicit, other = (security.acceptor(index) for index in range(5))
    assert none is None
    assert told == []
    flags = [(one.implicit, one.required) for one in (starttls, required, implicit) if one is not None]
    assert flags == [(False, False), (False, True), (True, False)]
    assert starttls is not None
    assert other is not None
    contexts = [one.context() for one in (starttls, implicit, other) if one is not None]
    # TLS-15: never shared
    assert len(set(map(id, contexts))) == 3


def test_without_tls_no_folder_is_needed(tmp_path: Path) -> None:
    """Who offers none need not have one."""
    assert list(check_security(config(tmp_path / "absent", ListenerSettings()))) == []


def test_a_worker_begins_over_a_broken_folder(folder: Path) -> None:
    """TLS-14: a worker that replaces one that died must not fail over a certificate that broke meanwhile."""
    write(folder, "bad.pem", b"broken")
    security, told = securities(config(folder))
    assert [name for name, _ in told] == ["tls.refused"]
    acceptor = security.acceptor(0)
    assert acceptor is not None
    assert acceptor.context() is not None
    (folder / "mx.pem").unlink()
    security, told = securities(config(folder))
    acceptor = security.acceptor(0)
    assert acceptor is not None
    assert acceptor.context() is None


@pytest.mark.parametrize(
    ("listener", "problem"),
    [
        (
            {"client_certificates": ClientCertificates.REQUIRE, "client_authorities": "/absent.pem"},
            r"listener\[0\]\.client_authorities: /absent.pem cannot be read",
        ),
        ({"certificates": "/absent"}, r"listener\[0\]\.certificates: /absent: cannot be read"),
    ],
)
def test_a_start_is_refused_with_the_reason(folder: Path, listener: dict[str, Any], problem: str) -> None:
    """What a listener could not do is said before it begins."""
    given = config(folder, ListenerSettings(tls=ListenerTls.STARTTLS, **listener))
    with pytest.raises(ConfigError, match=problem):
        list(check_security(given))


def test_a_folder_that_is_not_there_is_refused_by_its_key(tmp_path: Path) -> None:
    """Also one that several listeners share; each broken certificate is a complaint of its own."""
    with pytest.raises(ConfigError, match=r"tls\.certificates: .*absent: cannot be read"):
        list(check_security(config(tmp_path / "absent")))
    for name in ("a.pem", "b.pem"):
        write(tmp_path / "bad", name, b"broken")
    with pytest.raises(ConfigError) as caught:
        list(check_security(config(tmp_path / "bad")))
    assert [problem.key for problem in caught.value.problems] == ["tls.certificates"] * 2


def test_wrong_ciphers_are_refused(folder: Path) -> None:
    """They are nothing of a listener's: the key is named."""
    given = Config(
        listener=(ListenerSettings(tls=ListenerTls.STARTTLS, name="mx"),),
        tls=TlsSettings(certificates=str(folder), ciphers="FOO"),
    )
    with pytest.raises(ConfigError, match=r"configuration: tls\.ciphers: 'FOO' names no cipher"):
        list(check_security(given))


@pytest.mark.skipif(os.geteuid() != 0, reason="absent: root, as whom a server that becomes another user is started")
@pytest.mark.parametrize(("mode", "folder_mode"), [(0o600, 0o755), (0o640, 0o755), (0o644, 0o700)])
def test_keys_that_workers_cannot_read_stop_the_start(folder: Path, mode: int, folder_mode: int) -> None:
    """Started as root, workers become node.user: what only root can read would be found out in each worker."""
    for part in (*folder.parents,):
        if "pytest" in str(part):
            part.chmod(0o755)
    (folder / "mx.pem").chmod(mode & 0o640)
    folder.chmod(folder_mode)
    with pytest.raises(Unreadable, match=r"mx\.pem cannot be read by nobody \(node\.user\)"):
        list(check_security(config(folder, user="nobody")))
