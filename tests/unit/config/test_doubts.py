"""What is valid and cannot be meant is said by `upesi config check`, with the places of both tables."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner

from upesi.cli.main import upesi
from upesi.config.doubts import doubts
from upesi.config.loading import load
from upesi.config.origin import Origin


def warnings(folder: Path, text: str, *overrides: str, judged_by_plugins: bool = False) -> list[str]:
    """What is said about a configuration, without the path of its folder."""
    file = folder / "upesi.toml"
    file.write_text(text)
    found = doubts(load(file, overrides), Origin.of(file, overrides), judged_by_plugins=judged_by_plugins)
    return [str(doubt).replace(f"{folder}/", "") for doubt in found]


_SUBMISSION = '[[listener]]\nrole = "submission"\n'
_ACCOUNTS = '[[credentials]]\nsource = "file:accounts"\n'
_NOBODY = "upesi.toml:2: listener[0].role: nobody can log in here: "
_NEVER = "AUTH is never offered here: "


def test_submission_where_nobody_can_log_in_is_doubted(tmp_path: Path) -> None:
    """RFC 6409: users authenticate; without anybody who judges them only networks that may relay get mail away."""
    (said,) = warnings(tmp_path, f'{_SUBMISSION}tls = "starttls"\n')
    assert said.startswith(_NOBODY)
    for judge in (
        _ACCOUNTS,
        '[auth.oauth]\nintrospection = "https://a.example/i"\n',
        '[auth.oauth]\nkeys = "https://a.example/k"\nissuer = "i"\naudience = "a"\n',
        "[listener.auth]\nenabled = false\n",
    ):
        assert warnings(tmp_path, f'{_SUBMISSION}tls = "starttls"\n{judge}') == []
    assert warnings(tmp_path, f'{_SUBMISSION}tls = "implicit"\n', judged_by_plugins=True) == []
    assert warnings(tmp_path, '[[listener]]\nrole = "mx"\n[[listener]]\nrole = "lmtp"\nport = 24\n') == []


def test_submission_where_auth_is_never_offered_is_doubted(tmp_path: Path) -> None:
    """RFC 4954 section 4: no AUTH before TLS, unless the operator says that the way is his own."""
    (said,) = warnings(tmp_path, f'{_SUBMISSION}tls = "none"\n{_ACCOUNTS}')
    assert said.startswith(f"upesi.toml:3: listener[0].tls: {_NEVER}")
    assert warnings(tmp_path, f"{_SUBMISSION}[listener.auth]\nwithout_tls = true\n{_ACCOUNTS}") == []
    assert len(warnings(tmp_path, _SUBMISSION)) == 2
    (said,) = warnings(tmp_path, f"{_SUBMISSION}{_ACCOUNTS}", "listener.0.tls=none")
    assert said.startswith(f"--set listener.0.tls=none: listener[0].tls: {_NEVER}")


_BEHIND = "never counts: the first that matches decides, which is"


def _route(*domains: str) -> str:
    return f'[[route]]\ndomains = {list(domains)}\nto = "mx"\n'


def _destination(*domains: str, key: str = "domains") -> str:
    return f'[[destination]]\n{key} = {list(domains)}\ntls = "encrypt"\n'


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            _destination("a.example") + _destination("b.example", "A.example"),
            f"upesi.toml:5: destination[1].domains[1]: 'a.example' {_BEHIND} upesi.toml:1: destination[0]",
        ),
        (
            _destination("mx.example", key="hosts") + _destination("mx.example", key="hosts"),
            f"upesi.toml:5: destination[1].hosts[0]: 'mx.example' {_BEHIND} upesi.toml:1: destination[0]",
        ),
        (_destination("*") + _destination("*"), f"upesi.toml:4: destination[1]: it {_BEHIND} upesi.toml:1: destination[0]"),
        (
            _route("c.example") + _route("*") + _route("a.example"),
            f"upesi.toml:8: route[2].domains[0]: 'a.example' {_BEHIND} upesi.toml:4: route[1]",
        ),
        (
            _route(".example") + _route("a.b.example"),
            f"upesi.toml:5: route[1].domains[0]: 'a.b.example' {_BEHIND} upesi.toml:1: route[0]",
        ),
        (_ACCOUNTS * 2, f"upesi.toml:3: credentials[1]: it {_BEHIND} upesi.toml:1: credentials[0]"),
        (
            _ACCOUNTS + _ACCOUNTS + 'domains = ["a.example"]\n',
            f"upesi.toml:5: credentials[1].domains[0]: 'a.example' {_BEHIND} upesi.toml:1: credentials[0]",
        ),
    ],
)  # fmt: skip
def test_tables_that_never_count_are_doubted(tmp_path: Path, text: str, said: str) -> None:
    """The first table decides; the one behind it would be read by people and by nobody else."""
    assert warnings(tmp_path, text) == [said]


def test_tables_that_count_are_not_doubted(tmp_path: Path) -> None:
    """The narrow before the wide; a domain twice in one table; the same domain as a destination and as a host."""
    text = (
        _route("a.example", "a.example") + _route("b.example", ".example") + _route("example") + _route("*")
        + _destination("a.example") + _destination("a.example", key="hosts") + _destination("[192.0.2.1]", "*")
        + _ACCOUNTS + 'domains = ["a.example"]\n' + _ACCOUNTS
    )  # fmt: skip
    assert warnings(tmp_path, text) == []


def test_config_check_says_doubts_and_takes_the_configuration(tmp_path: Path) -> None:
    """A warning on standard error; a plugin's auth hook is somebody who judges."""
    file = tmp_path / "upesi.toml"
    file.write_text(_SUBMISSION + _route("*") + _route("a.example"))
    checked = CliRunner().invoke(upesi, ["config", "check", "-c", str(file)])
    assert checked.exit_code == 0
    assert f"warning: {file}:2: listener[0].role: nobody can log in here" in checked.stderr
    assert f"warning: {file}:7: route[1].domains[0]: 'a.example' never counts" in checked.stderr
    told = CliRunner().invoke(upesi, ["config", "check", "-c", str(file), "--json"])
    assert told.stderr == ""
    answer = json.loads(told.stdout)
    assert (answer["valid"], answer["problems"]) == (True, [])
    places = [(warning["source"], warning["line"], warning["key"]) for warning in answer["warnings"]]
    assert (str(file), 7, "route[1].domains[0]") in places
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "mine.py").write_text(
        "from upesi.plugin import hook\n\n\n@hook.auth\ndef judge(session, credentials):\n    return None\n"
    )
    file.write_text(f'{_SUBMISSION}[plugins]\nenabled = ["mine"]\n')
    checked = CliRunner().invoke(upesi, ["config", "check", "-c", str(file)])
    assert checked.exit_code == 0, checked.stderr
    assert "log in" not in checked.stderr


def test_half_of_what_cram_md5_needs_is_doubted(tmp_path: Path) -> None:
    """RFC 2195: a mechanism that no source can serve is not offered, and passwords kept readable for nothing are worse than none."""
    asked = '[auth]\nmechanisms = ["PLAIN", "CRAM-MD5"]\n'
    kept = f"{_ACCOUNTS}cram_md5 = true\n"
    (said,) = warnings(tmp_path, asked + _ACCOUNTS)
    assert "auth.mechanisms: CRAM-MD5 is not offered: it needs cram_md5 = true" in said
    (said,) = warnings(tmp_path, kept)
    assert "credentials[0].cram_md5: passwords that are kept readable serve nobody" in said
    assert warnings(tmp_path, asked + kept) == []
    assert warnings(tmp_path, _ACCOUNTS) == []


_FENCE = "[plugins.relay]\nnetworks = "
_STRANGERS = "strangers may send to everybody"
_HERE = "upesi.toml:2: plugins.relay.networks"


@pytest.mark.parametrize(
    ("networks", "said"),
    [
        (["0.0.0.0/1"], [f"{_HERE}[0]: 0.0.0.0/1 is wider than /8: {_STRANGERS}"]),
        (
            ["0.0.0.0/2", "128.0.0.0/1"],
            [f"{_HERE}[{index}]: {text} is wider than /8: {_STRANGERS}" for index, text in enumerate(("0.0.0.0/2", "128.0.0.0/1"))],
        ),
        (
            ["::ffff:0:0/96"],
            [f"{_HERE}[0]: ::ffff:0:0/96, which stands for 0.0.0.0/0, is wider than /8: {_STRANGERS}"],
        ),
        (["64:ff9b::/97"], [f"{_HERE}[0]: 64:ff9b::/97, which stands for 0.0.0.0/1, is wider than /8: {_STRANGERS}"]),
        (["2002::/16"], [f"{_HERE}[0]: 2002::/16, which stands for 0.0.0.0/0, is wider than /8: {_STRANGERS}"]),
        (["::1", "2000::/3"], [f"{_HERE}[1]: 2000::/3 is wider than /16: {_STRANGERS}"]),
        (["17.0.0.0/8", "18.0.0.0/9"], [f"{_HERE}: together they are more than a /8 of IPv4: {_STRANGERS}"]),
        ([f"2a{part:02x}::/16" for part in range(2)], [f"{_HERE}: together they are more than a /16 of IPv6: {_STRANGERS}"]),
        (
            ["::ffff:192.0.2.0/120"],
            [f"{_HERE}[0]: ::ffff:192.0.2.0/120 never counts: clients are called by their IPv4 addresses, write 192.0.2.0/24"],
        ),
        (["127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "fe80::/10", "::1"], []),
        (["17.0.0.0/8", "17.1.0.0/16", "10.0.0.0/8", "2a00::/19", "2002:1100:204::/48", "nonsense"], []),
    ],
)  # fmt: skip
def test_a_fence_that_is_open_to_strangers_is_doubted(tmp_path: Path, networks: list[str], said: list[str]) -> None:
    """One network or a list that holds more than anybody owns, in any spelling of IPv4; what is private may be as wide as it is."""
    assert warnings(tmp_path, f"{_FENCE}{networks}\n") == said


def test_a_fence_that_is_not_in_use_is_not_doubted(tmp_path: Path) -> None:
    """Without the plugin its table says nothing."""
    assert warnings(tmp_path, f'{_FENCE}["2000::/3"]\n[plugins]\nenabled = []\n') == []


def test_an_expiry_before_the_first_retry_is_doubted(tmp_path: Path) -> None:
    """The first deferral would be the last word, and greylisting a bounce."""
    (said,) = warnings(tmp_path, '[delivery]\nexpire = "1m"\n')
    assert said.startswith("upesi.toml:2: delivery.expire: is over before the first retry (5m): ")
    assert warnings(tmp_path, '[delivery]\nexpire = "5m"\n') == []
    assert warnings(tmp_path, '[delivery]\nexpire = "1m"\nretry = ["30s", "2m"]\n') == []


def test_many_more_workers_than_processors_are_doubted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four for each processor that this process may use, and no more."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    assert warnings(tmp_path, "[node]\nworkers = 8\n") == []
    (said,) = warnings(tmp_path, "[node]\nworkers = 9\n")
    assert said.startswith("upesi.toml:2: node.workers: is more than 4 for each processor of this machine (it has 2): ")
