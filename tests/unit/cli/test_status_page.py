"""The page of `upesi status`: words and units, what is empty is left out, and who is in trouble comes first."""

from __future__ import annotations

import pytest

from upesi.cli.output import Output
from upesi.cli.status import show


def site(queue: str, **values: object) -> dict[str, object]:
    calm = {
        "ready": 0,
        "in_flight": 0,
        "connections": 0,
        "idle": 0,
        "limit": 20,
        "blocked": 0.0,
        "failures": 0,
        "backlog": False,
    }
    return {"queue": queue, **calm, "last": None, **values}


def worker(slot: int, *sites: dict[str, object], **values: object) -> dict[str, object]:
    scheduler = {"deliveries": 3, "bodies": 12_000, "connections": 2, "paused": False, "sites": list(sites)}
    status = {
        "listeners": [
            {"name": "", "sessions": 2, "accepted": 7, "refused": 0},
            {"name": "x", "sessions": 1, "accepted": 1},
        ],
        "scheduler": scheduler,
        "plugins": {"calm": {"failures": 0, "broken": False}, "ill": {"failures": 9, "broken": True}} if sites else {},
    }
    return {
        "slot": slot,
        "pid": 100 + slot,
        "epoch": slot,
        "state": "active",
        "shards": 128,
        "status": status,
        **values,
    }


def page(capsys: pytest.CaptureFixture[str], **answer: object) -> list[str]:
    show(
        {"pid": 7, "listeners": ["127.0.0.1:2525"], "spool": "/s", "workers": [], "queues": [], **answer},
        Output(as_json=False),
    )
    return capsys.readouterr().out.splitlines()


def words(lines: list[str], start: str) -> list[str]:
    """Return the words of the line that begins with `start`."""
    (line,) = [line for line in lines if line.startswith(start)]
    return line.split()


def test_an_idle_server_fills_half_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    """Listeners, workers with their sessions and memory, an empty queue; no columns of dashes, no sites, no plugins."""
    lines = page(capsys, workers=[worker(0), worker(1, state="retiring")])
    assert words(lines, "listening") == ["listening", "127.0.0.1:2525"]
    assert words(lines, "queue") == ["queue", "empty"]
    assert words(lines, "WORKER") == (
        [
            "WORKER",
            "PID",
            "STATE",
            "SESSIONS",
            "TAKEN",
            "DELIVERIES",
            "IN",
            "MEMORY",
            "MESSAGE",
            "DATA",
            "CONNECTIONS",
            "OUT",
        ]
    )
    assert words(lines, "0 ") == ["0", "100", "active", "3", "8", "3", "12", "kB", "2"]
    assert words(lines, "1 ")[2] == "retiring"
    assert not any("-" in line.split() or line in ("sites", "plugins that failed") for line in lines)


def test_a_site_in_trouble_comes_first_with_its_reason(capsys: pytest.CaptureFixture[str]) -> None:
    """Connections of how many, for how long it is left alone with its unit, and what it last said."""
    error = {"kind": "deferred", "code": 421, "status": "4.3.2", "text": "Go away", "remote": "mx [192.0.2.1]"}
    busy, ill = (
        site("mx:busy", ready=50, connections=20, in_flight=9),
        site("mx:ill", blocked=0.74, failures=2, last=error),
    )
    lines = page(capsys, workers=[worker(0, busy, ill)])
    head = next(index for index, line in enumerate(lines) if line.startswith("SITE"))
    assert lines[head + 1].split() == [
        "mx:ill",
        "0",
        "of",
        "20",
        "0",
        "0",
        "1s",
        "2",
        "421",
        "4.3.2",
        "Go",
        "away",
        "(mx",
        "[192.0.2.1])",
    ]
    assert lines[head + 2].split() == ["mx:busy", "20", "of", "20", "9", "50", "-", "-", "-"]
    assert words(lines, "ill ") == ["ill", "0", "9", "not", "called", "for", "a", "while"]
    assert not any(line.startswith("calm") for line in lines)


def test_only_the_busiest_sites_are_shown(capsys: pytest.CaptureFixture[str]) -> None:
    """A page, not a listing: ten sites, and how many there are."""
    lines = page(capsys, workers=[worker(0, *(site(f"mx:{n:02}", ready=n) for n in range(30)))])
    assert "busiest 10 of 30 sites" in lines
    assert [line.split()[0] for line in lines if line.startswith("mx:")] == [f"mx:{n:02}" for n in range(29, 19, -1)]


def test_the_queue_is_counted_by_state(capsys: pytest.CaptureFixture[str]) -> None:
    """Numbers with their states, and no time as a number of seconds since 1970."""
    queues = [
        {"queue": "mx:a", "routing": 0, "ready": 3, "active": 1, "held": 0, "next_due": 1.795e9},
        {"queue": "mx:b", "routing": 0, "ready": 1, "active": 0, "held": 0, "next_due": None},
    ]
    lines = page(capsys, queues=queues, workers=[worker(0)])
    assert "5 deliveries in 2 queues: 4 ready, 1 active" in lines[3]
    assert "e+09" not in "\n".join(lines)


def test_a_worker_that_does_not_answer_is_said_to(capsys: pytest.CaptureFixture[str]) -> None:
    """A hung worker is the reason for which somebody looks here; so is a server without workers."""
    assert words(page(capsys, workers=[worker(0, status=None)]), "0 ")[2:4] == ["no", "answer"]
    assert any("no worker is running" in line for line in page(capsys))
