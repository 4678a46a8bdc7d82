"""Writes the beginnings of a plugin and of its test, for `upesi plugins new NAME`."""

from __future__ import annotations

import re
from pathlib import Path

from upesi.hooks.discovery import find_plugins

__all__ = ["ScaffoldError", "scaffold"]

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")

_PLUGIN = '''\
"""{name}: say in one line what this plugin does to mail."""

from upesi.plugin import Address, Plugin, PluginSettings, Transaction, Verdict, hook, reject


class {klass}(Plugin):
    """Refuse mail from some domains."""

    class Settings(PluginSettings):
        """The keys of [plugins.{name}]; every key has a default or must be given."""

        domains: tuple[str, ...] = ("bad.example",)

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self.domains = frozenset(settings.domains)

    @hook.mail
    def sender(self, tx: Transaction, sender: Address) -> Verdict | None:
        """Called at MAIL FROM; for the null reverse-path of bounces the sender's domain is empty."""
        if sender.domain in self.domains:
            return reject("5.7.1", "We take no mail from your domain")
        return None
'''

_TEST = '''\
"""The tests of the plugin {name}: run them with `python -m pytest {test}`."""

import asyncio
from pathlib import Path

from upesi.testkit import Trial

PLUGIN = Path(__file__).parent.parent / "{name}.py"


def test_a_listed_domain_is_refused():
    """A sender of a domain in the settings gets 550 5.7.1."""
    trial = Trial.of(PLUGIN, {{"domains": ["spam.example"]}})
    verdict = asyncio.run(trial.mail("someone@spam.example"))
    assert verdict is not None
    assert verdict.reply.code == 550


def test_others_may_send():
    """The plugin has no opinion about anybody else, nor about bounces."""
    trial = Trial.of(PLUGIN, {{"domains": ["spam.example"]}})
    assert asyncio.run(trial.mail("someone@example.com")) is None
    assert asyncio.run(trial.mail("")) is None
'''


# for `python -m pytest`, here or from above
_PYTEST = """\
[pytest]
# tests may be `async def` (pytest-asyncio)
asyncio_mode = auto
asyncio_default_fixture_loop_scope = function
testpaths = tests
"""
# where pytest would look for the same
_CONFIGURED = ("pytest.ini", ".pytest.ini", "pyproject.toml", "tox.ini", "setup.cfg")


class ScaffoldError(ValueError):
    """A name that cannot be used, or a file that is there already."""


def scaffold(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `NAME.py` into `folder` and its test into `folder/tests`; return both paths; raise ScaffoldError, OSError.

    A `pytest.ini` lets tests be `async def`, where the folder says nothing about pytest yet. Nothing that exists is overwritten.
    """
    if not _NAME.fullmatch(name):
        raise ScaffoldError(f"{name!r} is no name for a plugin: small letters, digits and _, a letter first")
    if taken := find_plugins(None).get(name):
        # two of one name are refused at the next start
        raise ScaffoldError(f"there is a plugin {name!r} already ({taken[0].kind}): take another name")
    plugin, test = folder / f"{name}.py", folder / "tests" / f"test_{name}.py"
    for path in (plugin, test):
        if path.exists():
            raise ScaffoldError(f"{path} is there already")
    test.parent.mkdir(parents=True, exist_ok=True)
    klass = "".join(part.capitalize() for part in name.split("_"))
    plugin.write_text(_PLUGIN.format(name=name, klass=klass), encoding="utf-8")
    if not any((folder / each).exists() for each in _CONFIGURED):
        (folder / "pytest.ini").write_text(_PYTEST, encoding="utf-8")
    test.write_text(_TEST.format(name=name, test=test), encoding="utf-8")
    return plugin, test
