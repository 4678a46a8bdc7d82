"""A real server whose wall clock is years off, and is set while it runs: libfaketime between it and the kernel."""

from __future__ import annotations

from pathlib import Path

import pytest

from integration.conftest import MakeServer, route_to
from integration.messages import number_of, numbered
from integration.receiver import Receiver
from integration.server import UpesiServer, free_port, wait_until

# where Debian and Fedora have it
_PLACES = ("lib/*", "lib", "lib64")
_OFTEN = '[delivery]\nretry = ["2s"]\njitter = 0.0\n'


class Clock:
    """The wall clock of what is started while `monkeypatch` holds; its monotonic clocks are the true ones."""

    def __init__(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        found = [
            file for place in _PLACES for file in sorted(Path("/usr").glob(f"{place}/faketime/libfaketimeMT.so.1"))
        ]
        if not found:
            pytest.skip("absent: libfaketime")
        self._file = file
        self.set("+0")
        for name, value in {
            "LD_PRELOAD": str(found[0]),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }.items():
            monkeypatch.setenv(name, value)

    def set(self, offset: str) -> None:
        """Set it forward or back by so much of the true time, at once."""
        new = self._file.with_suffix(".new")
        new.write_text(offset)
        new.rename(self._file)


@pytest.mark.parametrize("ahead", ["+3600", "+3650d"])
def test_mail_from_a_clock_that_was_ahead_does_not_wait_for_its_day(
    upesi_server: MakeServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ahead: str
) -> None:
    """CLK-01: taken and put off in the future, it goes out soon after the clock has been set back, while the server runs."""
    port = free_port()
    clock = Clock(tmp_path / "clock", monkeypatch)
    server = upesi_server(route_to(port) + _OFTEN)
    clock.set(ahead)
    server.send(numbered(1))
    _put_off(server, 1)
    clock.set("+0")
    # moved back by the walk, or, if it was with a worker just then, put off by the right clock
    with Receiver(port) as receiver:
        assert number_of(receiver.wait_for(1)[0].data) == 1
    assert not server.events("delivery.failed")


def test_a_clock_that_leaps_ahead_and_comes_back_returns_no_mail(
    upesi_server: MakeServer, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """CLK-01: ten years forward all mail is too old, and none is returned; back again it is as it was, and sessions never notice."""
    receiver.on_rcpt = lambda path: b"451 4.2.1 later"
    clock = Clock(tmp_path / "clock", monkeypatch)
    server = upesi_server(route_to(receiver.port) + _OFTEN)
    for number in range(5):
        server.send(numbered(number))
    _put_off(server, 5)
    for offset in ("+3650d", "-3600", "+0"):
        clock.set(offset)
        _put_off(server, len(server.events("delivery.deferred")) + 5)
    server.send(numbered(5))
    assert not server.events("delivery.failed")
    receiver.on_rcpt = lambda path: b"250 2.1.5 ok"
    wait_until(lambda: {number_of(each.data) for each in list(receiver.messages)} == set(range(6)), what="all mail")
    assert not server.events("delivery.failed")


def _put_off(server: UpesiServer, count: int) -> None:
    wait_until(lambda: len(server.events("delivery.deferred")) >= count, what=f"{count} deliveries that are put off")
