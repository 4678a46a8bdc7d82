"""Every command that the documents name exists, with the options that they give it."""

from __future__ import annotations

import re
import shlex
import tomllib
from collections.abc import Iterator

import click
import pytest
from doc_pages import NAMES, ROOT, blocks, inline, text_of

from upesi.cli.main import upesi

_SEPARATORS = re.compile(r"\s(?:&&|\|\||\||;)\s")
# options of every command line of ours that are no parameters of click
_ALWAYS = {"--help", "-h"}


def _words(line: str) -> list[str] | None:
    """Return the words behind `upesi` in a shell command, None for another program's."""
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):
        words.pop(0)
    if not words or words[0].rpartition("/")[2] != "upesi":
        return None
    return words[1:]


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """Walk down the tree of commands; return the last one and what is left."""
    command: click.Command = upesi
    rest = list(words)
    while isinstance(command, click.Group) and rest and not rest[0].startswith("-"):
        found = command.get_command(click.Context(command), rest[0])
        assert found is not None, f"there is no command {' '.join(words)!r}"
        command = found
        rest.pop(0)
    return command, rest


def _shell_lines() -> list[tuple[str, str]]:
    return [
        (block.page, part.strip())
        for block in blocks("sh")
        for line in block.text.splitlines()
        for part in _SEPARATORS.split(line.removeprefix("$ "))
        if _words(part) is not None
    ]


@pytest.mark.parametrize(("page", "line"), _shell_lines())
def test_commands_in_blocks_are_parsed_by_the_command_line(page: str, line: str) -> None:
    """A command that the reader is told to type is one that the program takes, values and all."""
    words = _words(line)
    assert words is not None
    command, rest = _command(words)
    try:
        command.make_context("upesi", rest)
    except click.ClickException as error:
        pytest.fail(f"{page}: {line}: {error.format_message()}")


def _mentions() -> list[tuple[str, str]]:
    return [(page, code) for page in NAMES for code in inline(page) if code.startswith("upesi ")]


@pytest.mark.parametrize(("page", "code"), _mentions())
def test_commands_in_prose_exist(page: str, code: str) -> None:
    """A command that is mentioned exists, and has the options that are mentioned with it."""
    command, rest = _command(shlex.split(code)[1:])
    known = {option for parameter in command.params for option in parameter.opts} | _ALWAYS
    for word in rest:
        assert not word.startswith("-") or word in known, f"{page}: {code}"


def _commands(command: click.Command, *names: str) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if not isinstance(command, click.Group):
        yield names, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from _commands(found, *names, name)


def test_the_commands_without_json_are_those_that_the_page_names() -> None:
    """docs/operating.md says which have no --json, a group for all of its commands."""
    sentence = re.search(r"every one but\s(.*?),\swhich\swrite", text_of("docs/operating.md"), re.DOTALL)
    assert sentence is not None
    without = [
        names for names, command in _commands(upesi) if "--json" not in {o for p in command.params for o in p.opts}
    ]
    named = {tuple(code.split()) for code in re.findall(r"`([a-z ]+)`", sentence[1])}
    assert {names if names in named else names[:1] for names in without} == named


def test_selectors_are_those_of_the_program() -> None:
    """The table of selectors in docs/operating.md is complete."""
    queue, _ = _command(["queue", "list"])
    selectors = {parameter.opts[0] for parameter in queue.params if isinstance(parameter, click.Option)}
    selectors -= {"-c", "--config", "--set", "--socket", "--json", "--limit"}
    assert selectors == {option for option in selectors if f"`{option} " in text_of("docs/operating.md")}


def test_every_queue_command_is_explained() -> None:
    """The table of queue commands in docs/operating.md is complete."""
    queue, _ = _command(["queue"])
    assert isinstance(queue, click.Group)
    named = {code.split()[2] for code in inline("docs/operating.md") if code.startswith("upesi queue ")}
    assert named == set(queue.commands)


def test_programs_and_make_targets_exist() -> None:
    """`upesi-...` is installed by the package, and `make ...` is a target."""
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in NAMES:
        programs = {code.split()[0] for code in inline(page) if re.match(r"upesi-[a-z]+(?: |$)", code)}
        assert programs <= set(scripts), page
        asked = {target for block in blocks("sh", pages=(page,)) for target in _targets(block.text)}
        asked |= {code.split()[1] for code in inline(page) if re.match(r"make [a-z]", code)}
        assert asked <= targets, page


def _targets(block: str) -> set[str]:
    return {
        words[1] for words in (line.split() for line in block.splitlines()) if len(words) > 1 and words[0] == "make"
    }
