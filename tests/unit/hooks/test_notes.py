"""Typed notes and results, and the version of the API."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

import upesi.hooks.api
from upesi.config.problems import ConfigError
from upesi.config.settings import PluginsSettings
from upesi.hooks.api import API_VERSION, Deprecated, api_problem, deprecated
from upesi.hooks.loading import load_plugins, plugin_from
from upesi.hooks.notes import MAX_QUEUED_NOTE, MAX_QUEUED_NOTES, Note
from upesi.hooks.results import MAX_EVIDENCE, MAX_RESULTS
from upesi.mail.body import MemoryBody
from upesi.plugin import Plugin, StoredMessage, hook

from .hookkit import Bench


class Score(msgspec.Struct):
    """What a scoring plugin keeps."""

    points: float
    why: list[str] = []


def stored(notes: dict[str, bytes]) -> StoredMessage:
    tx = Bench().tx
    return StoredMessage(tx.id, 0.0, None, tx.transmission, b"", MemoryBody(b""), {}, notes)


def test_a_note_is_what_was_left_under_its_name() -> None:
    """On a session, on a transaction; None where there is none."""
    bench, note = Bench(), Note("geoip.country", str)
    for holder in (bench.session, bench.tx):
        assert note.get(holder) is None
        note.set(holder, "TZ")
        assert note.get(holder) == "TZ"
        note.remove(holder)
        assert note.get(holder) is None


def test_a_queued_note_is_read_back_in_delivery() -> None:
    """Through octets: numbers, texts, lists, Structs."""
    tx = Bench().tx
    for note, value in (
        (Note("spam.points", float, queued=True), 2.5),
        (Note("spam.names", list[str], queued=True), ["a", "b"]),
        (Note("spam.score", Score, queued=True), Score(1.5, ["links"])),
        (Note("spam.octets", bytes, queued=True), b"\0\xff"),
    ):
        note.set(tx, value)  # type: ignore[attr-defined]
        assert note.get(tx) == value
        assert note.get(stored(tx.queued_notes)) == value
    assert tx.has_queued_notes


def test_a_note_of_another_type_is_refused_where_it_is_left() -> None:
    """And read as none where an older plugin has left it."""
    tx = Bench().tx
    for queued in (False, True):
        with pytest.raises(TypeError, match=r"spam\.points"):
            Note("spam.points", float, queued=queued).set(tx, "many")  # type: ignore[arg-type]
    tx.queued_notes["spam.points"] = b'"many"'
    assert Note("spam.points", float, queued=True).get(tx) is None
    assert Note("spam.points", float, queued=True).get(stored({"spam.points": b"{"})) is None


def test_queued_notes_are_bounded() -> None:
    """In size and in number; they are in the message's row of the spool."""
    tx = Bench().tx
    with pytest.raises(ValueError, match=str(MAX_QUEUED_NOTE)):
        Note("big.note", str, queued=True).set(tx, "x" * MAX_QUEUED_NOTE)
    for number in range(MAX_QUEUED_NOTES):
        Note(f"many.n{number}", int, queued=True).set(tx, number)
    with pytest.raises(ValueError, match="queued notes already"):
        Note("many.more", int, queued=True).set(tx, 1)
    Note("many.n0", int, queued=True).set(tx, 5)


def test_a_note_has_its_plugins_name_in_front() -> None:
    """Two plugins' notes are two; queued ones belong to a transaction."""
    for name in ("score", "Spam.score", "spam.", "spam score.x"):
        with pytest.raises(ValueError, match="no name of a note"):
            Note(name, int)
    with pytest.raises(TypeError, match="goes on a transaction"):
        Note("spam.x", int, queued=True).set(Bench().session, 1)


@pytest.mark.parametrize("junk", [5, "pass", ("pass",), ("pass", 5), ["pass", "x"], ("pass", "x", "y"), None])
def test_what_is_no_result_fails_where_it_is_left(junk: object) -> None:
    """And not in the scoring plugin that reads it."""
    tx = Bench().tx
    with pytest.raises(TypeError, match="two texts"):
        tx.results["spf"] = junk  # type: ignore[assignment]
    with pytest.raises(TypeError, match="two texts"):
        tx.results.setdefault("spf", junk)  # type: ignore[arg-type]
    assert not tx.has_queued_notes
    assert tx.results == {}


def test_results_are_bounded() -> None:
    """In number, and in the length of what was seen."""
    session = Bench().session
    session.results["long"] = ("fail", "x" * 10_000)
    assert session.results["long"] == ("fail", "x" * MAX_EVIDENCE)
    for number in range(MAX_RESULTS - 1):
        session.results[f"r{number}"] = ("pass", "")
    with pytest.raises(ValueError, match="results already"):
        session.results["more"] = ("pass", "")
    session.results["r1"] = ("fail", "again")


@pytest.mark.parametrize(
    ("asked", "problem"),
    [
        ("1.0", ""),
        ("1.4", "written for version 1.4"),
        ("2.0", "written for version 2.0"),
        ("0.9", "version 0.9"),
        ("1", "in quotes"),
        (1.0, "in quotes"),
    ],
)
def test_a_plugin_for_another_version_is_refused(asked: object, problem: str) -> None:
    """An older one of the same first number runs; another does not, and says which it wants."""

    class Versioned(Plugin):
        api = asked

        @hook.connect
        def connect(self, session: object) -> None:
            return None

    assert API_VERSION.startswith("1.")
    if problem:
        with pytest.raises(ConfigError, match=problem):
            plugin_from("versioned", Versioned)
    else:
        assert plugin_from("versioned", Versioned).name == "versioned"
    assert api_problem("1.1", "1.3") == ""


@pytest.fixture
def old(monkeypatch: pytest.MonkeyPatch) -> object:
    """A name that is on its way out."""
    value = object()
    monkeypatch.setattr(upesi.hooks.api, "DEPRECATED", {"old": Deprecated(value, "1.2", "2.0", "accept")})
    return value


def test_what_goes_away_warns_first(old: object) -> None:
    """A deprecated name works, says since when, until when and what to use; one that never was does not exist."""
    said = r"upesi\.plugin\.old is deprecated since 1\.2 and goes away with 2\.0: use accept"
    with pytest.warns(DeprecationWarning, match=said):
        assert deprecated("old") is old
    with pytest.raises(ImportError):
        from upesi.plugin import nothing_of_this_name  # type: ignore[attr-defined]  # noqa: F401


@pytest.mark.usefixtures("old")
def test_operators_see_which_plugin_uses_what_goes_away(tmp_path: Path) -> None:
    """`plugin.deprecated` names the plugin and the line; the plugin is loaded all the same."""
    events: list[tuple[str, dict[str, object]]] = []
    (tmp_path / "mine.py").write_text(
        "from upesi.plugin import hook, old\n\n@hook.connect\ndef connect(session):\n    return None\n"
    )
    config = PluginsSettings(enabled=("mine",), folder=str(tmp_path))
    (loaded,) = load_plugins(config, {}, lambda name, fields: events.append((name, fields)))
    assert loaded.name == "mine"
    ((name, fields),) = events
    assert name == "plugin.deprecated"
    assert fields["plugin"] == "mine"
    assert "use accept" in str(fields["text"])
    assert str(fields["where"]).endswith("mine.py:1")
