"""What Python's libraries say of a configuration reaches its writer in TOML's words, with its place."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from upesi.config import ConfigError, load
from upesi.config.problems import Problem
from upesi.config.wording import in_words
from upesi.plugin import Plugin, PluginSettings
from upesi.testkit import Trial

# what no operator need know
_PYTHON = re.compile(r"`|\barray\b|\bstr\b|\bobject\b|\('|host bits|positional|namespace|\\n|__")

_BROKEN = [
    "[spool]\n[spool]\n",
    '[a]\nb = 1\n[a.b]\nc = 1\n',
    "a = { b = 1 }\n[a.c]\n",
    "a = [1]\n[[a]]\n",
    "a = { b = 1, b = 2 }\n",
    "[[a]\n",
    "a\n",
    "= 1\n",
    "!\n",
    'a = "x\n',
    "a = '''x\n",
    'a = """x\n',
    'a = "\\q"\n',
    "a = [1\n",
    "a = { b = 1\n",
    "a = x\n",
    'a = "x" y\n',
    "a = 1\x01\n",
]  # fmt: skip


@pytest.mark.parametrize("text", _BROKEN)
def test_what_is_no_toml_is_said_without_the_parsers_own_words(tmp_path: Path, text: str) -> None:
    """With file and line, as the parser knew them."""
    file = tmp_path / "upesi.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(file)
    (problem,) = caught.value.problems
    assert str(problem).startswith(f"{file}:{problem.line}: is not valid TOML: ")
    assert problem.line
    assert not _PYTHON.search(problem.text)
    assert not re.search("Expected|Cannot|Invalid|Unclosed|Illegal|Duplicate", problem.text)


@pytest.mark.parametrize(
    ("said", "ours"),
    [
        ("Expected `array`, got `str`", "must be a list in [ ], not text in quotes"),
        ("Expected `str`, got `int` - at `$[0]`", "[0]: must be text in quotes, not a whole number"),
        ("Expected `int`, got `str` - at `$[...].a`", "*.a: must be a whole number, not text in quotes"),
        ("Expected `int | null`, got `array`", "must be a whole number or nothing, not a list in [ ]"),
        ("Expected `array` of length 2, got 1", "must be a list in [ ] of length 2"),
        ("Expected `str` of length >= 3 - at `$.x`", "x: must be text in quotes of length at least 3"),
        ("Expected `int` >= 0", "must be a whole number >= 0"),
        ("Object missing required field `a` - at `$[1]`", "[1]: the key a is missing"),
        ("Object contains unknown field `b` - at `$[...]`", "*: unknown key b"),
        ("Invalid enum value 'c' - at `$[0]`", "[0]: 'c' is none of the values that are known here"),
        ("networks: 2001:db8::1/32 has host bits set",
         "networks: 2001:db8::1/32 has bits behind its /32: write 2001:db8::/32 for the network, 2001:db8::1 for the one address"),
        ("x: 'a' does not appear to be an IPv4 or IPv6 address", "x: 'a' is no IP address such as 192.0.2.1 or 2001:db8::1"),
        ("Plugin.__init__() missing 1 required positional argument: 'settings'",
         "Plugin.__init__() is called without 'settings': a mistake in the plugin's code, not in its settings"),
        ("f() takes 1 positional argument but 2 were given",
         "f() is called with what it does not take: a mistake in the plugin's code, not in its settings"),
        ("Invalid value of a plugin's own", "Invalid value of a plugin's own"),
        ("there is nothing like that", "there is nothing like that"),
    ],
)  # fmt: skip
def test_words_of_libraries_become_those_of_toml(said: str, ours: str) -> None:
    """What stands in front is kept, what is not known is left alone, and what was put into words once stays."""
    assert in_words(said) == ours
    assert in_words(ours) == ours


def test_a_setting_of_a_plugin_is_complained_of_in_tomls_words(tmp_path: Path) -> None:
    """Key and place are those of before."""

    class Careless(Plugin):
        """Forgets its settings."""

        class Settings(PluginSettings):
            """One list."""

            names: tuple[str, ...] = ()

        def __init__(self, settings: Settings) -> None:
            super().__init__()  # type: ignore[call-arg]

    with pytest.raises(ConfigError, match=r"\.names: must be a list in \[ \], not text in quotes$"):
        Trial.of(Careless, {"names": "a"})
    with pytest.raises(ConfigError, match="is called without 'settings': a mistake in the plugin's code"):
        Trial.of(Careless)


def test_authors_of_plugins_are_told_in_pythons_words() -> None:
    """They search for them."""
    error = ConfigError([Problem("mine.py", 3, "", "f() missing 1 required positional argument: 'a'")])
    assert str(error) == "mine.py:3: f() missing 1 required positional argument: 'a'"
