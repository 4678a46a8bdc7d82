"""What libraries say of a configuration, in the words of those who write one: TOML's and an operator's, not Python's.

One place for all of them: the TOML parser, msgspec, `ipaddress`, and calls that a plugin's own code makes wrongly. Every complaint goes
through it (`problems.ConfigError`), so whoever finds a mistake need not translate. What the tables do not know is left as it was said.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from ipaddress import ip_network

__all__ = ["NO_TOML", "in_words"]

# in front of what the TOML parser says: a plugin may say "Invalid value" of something else
NO_TOML = "is not valid TOML: "

_TOML: Mapping[str, str] = {
    "Cannot overwrite a value": "this key or section has a value already, further up",
    "Expected newline or end of document after a statement": "the line goes on behind its value",
    "Expected '=' after a key in a key/value pair": "there is no = behind the key",
    "Expected ']' at the end of a table declaration": "the name of the section does not end in ]",
    "Expected ']]' at the end of an array declaration": "the name of the section does not end in ]]",
    "Invalid initial character for a key part": "a key or section has no name, or one that must be in quotes",
    "Invalid statement": "this is neither KEY = VALUE nor a [SECTION]",
    "Invalid value": "there is no value, or text that is not in quotes",
    "Illegal character '\\n'": "text in quotes does not end on its line",
    "Unescaped '\\' in a string": "in text in quotes \\ is written \\\\; or put the text into '...'",
    "Unclosed array": "a list in [ ] does not end",
    "Unclosed inline table": "a table in { } does not end",
    "Unterminated string": "text in quotes does not end",
    'Expected \'"""\'': "text in quotes does not end",
    "Expected \"'''\"": "text in quotes does not end",
}
# msgspec's names of types
_TYPES: Mapping[str, str] = {
    "array": "a list in [ ]",
    "object": "a table",
    "str": "text in quotes",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "null": "nothing",
    "datetime": "a date and time",
    "date": "a date",
    "time": "a time",
}
# where in a value msgspec found it: `$[0].name`, with "..." for any key of a table
_PLACE = re.compile(r" - at `(key in )?\$([^`]*)`$")


def in_words(text: str) -> str:
    """Return a complaint in an operator's words. What stands around the library's own words (a key, a place) is kept."""
    before, mark, said = text.partition(NO_TOML)
    if mark:
        return f"{before}{mark}{_toml(said)}"
    place = _PLACE.search(text)
    bare = text[: place.start()] if place else text
    for pattern, say in _PATTERNS:
        if match := pattern.search(bare):
            return f"{bare[: match.start()]}{_place(place)}{say(match)}"
    return text


def _toml(said: str) -> str:
    for words, ours in _TOML.items():
        if said.startswith(words):
            return ours + said.removeprefix(words)
    for pattern, say in _TOML_PATTERNS:
        if match := pattern.match(said):
            return say(match) + said[match.end() :]
    return said


def _place(match: re.Match[str] | None) -> str:
    """Return where in the value it is, to stand in front: "[0].name: "."""
    place = match[2].replace("[...]", ".*").lstrip(".") if match else ""
    return f"{'a key of ' if match and match[1] else ''}{place}: " if place else ""


def _types(names: str) -> str:
    return " or ".join(_TYPES.get(name, name) for name in names.split(" | "))


def _length(match: re.Match[str]) -> str:
    bound = {">=": "at least ", "<=": "at most "}.get(match[2] or "", "")
    return f"must be {_types(match[1])} of length {bound}{match[3]}"


def _host_bits(match: re.Match[str]) -> str:
    text = match[1].strip("'")
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        return f"{text} has bits behind its prefix"
    return f"{text} has bits behind its /{network.prefixlen}: write {network} for the network, {text.partition('/')[0]} for the one address"


def _key(shown: str) -> str:
    """Return a key path that the TOML parser shows as a tuple of Python: ('spool', 'path')."""
    try:
        names = ast.literal_eval(shown)
    except (ValueError, SyntaxError):
        return shown
    return ".".join(map(str, names)) if isinstance(names, tuple) else str(names)


_OF_THE_PLUGIN = "a mistake in the plugin's code, not in its settings"

_Table = tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...]

_TOML_PATTERNS: _Table = (
    (re.compile(r"Cannot declare (\(.*\)) twice"), lambda match: f"the section [{_key(match[1])}] is there twice"),
    (
        re.compile(r"Cannot (?:mutate immutable|redefine) namespace (\(.*?\))"),
        lambda match: f"{_key(match[1])} is complete already, further up: nothing can be added to it",
    ),
    (
        re.compile(r"Duplicate inline table key ('[^']*')"),
        lambda match: f"the key {match[1]} is there twice in a table in {{ }}",
    ),
    (
        re.compile(r"(?:Illegal|Found invalid) character ('[^']*')"),
        lambda match: f"the character {match[1]} cannot stand here",
    ),
)
_PATTERNS: _Table = (
    # ipaddress
    (re.compile(r"(\S+) has host bits set$"), _host_bits),
    (
        re.compile(r"('[^']*') does not appear to be an IPv4 or IPv6 network$"),
        lambda match: f"{match[1]} is no network such as 192.0.2.0/24 or 2001:db8::/32, and no address",
    ),
    (
        re.compile(r"('[^']*') does not appear to be an IPv4 or IPv6 address$"),
        lambda match: f"{match[1]} is no IP address such as 192.0.2.1 or 2001:db8::1",
    ),
    # msgspec
    (
        re.compile(r"Expected `([^`]+)`, got `([^`]+)`$"),
        lambda match: f"must be {_types(match[1])}, not {_types(match[2])}",
    ),
    (re.compile(r"Expected `([^`]+)` of length ([<>]=)? ?(\d+)(?:, got \d+)?$"), _length),
    (re.compile(r"Expected `([^`]+)` ([<>]=? [-0-9.e+]+)$"), lambda match: f"must be {_types(match[1])} {match[2]}"),
    (re.compile(r"Object missing required field `([^`]+)`$"), lambda match: f"the key {match[1]} is missing"),
    (re.compile(r"Object contains unknown field `([^`]+)`$"), lambda match: f"unknown key {match[1]}"),
    (re.compile(r"Invalid enum value ('[^']*'|\S+)$"), lambda match: f"{match[1]} is none of the values that are known here"),
    # Python's own, of what a plugin calls while it is made
    (
        re.compile(r"([\w.<>]+)\(\) missing \d+ required (?:positional|keyword-only) arguments?: (.*)$"),
        lambda match: f"{match[1]}() is called without {match[2]}: {_OF_THE_PLUGIN}",
    ),
    (
        re.compile(r"([\w.<>]+)\(\) (?:takes .* positional arguments? but .* given|got (?:an unexpected|multiple) .*)$"),
        lambda match: f"{match[1]}() is called with what it does not take: {_OF_THE_PLUGIN}",
    ),
    (re.compile(r"Missing required argument ('[^']*')$"), lambda match: f"a value for {match[1]} is missing: {_OF_THE_PLUGIN}"),
)  # fmt: skip
