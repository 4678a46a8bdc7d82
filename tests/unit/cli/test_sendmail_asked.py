"""-N, -R and -V of `sendmail`."""

from __future__ import annotations

import argparse

import pytest

from upesi.cli.asked import add_options, parameters
from upesi.cli.sendmail import EX_DATAERR, run


def asked(*arguments: str) -> tuple[str, str]:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parameters(parser.parse_args(arguments))


@pytest.mark.parametrize(
    ("arguments", "mail", "rcpt"),
    [
        ((), "", ""), (("-Nnever",), "", " NOTIFY=NEVER"), (("-N", "Success,delay"), "", " NOTIFY=SUCCESS,DELAY"),
        (("-Rfull", "-V", "a=b c"), " RET=FULL ENVID=a+3Db+20c", ""), (("-R", "HDRS"), " RET=HDRS", ""),
    ],
)  # fmt: skip
def test_options_become_parameters(arguments: tuple[str, ...], mail: str, rcpt: str) -> None:
    """C55: NOTIFY, RET and ENVID as the caller asked, ENVID in xtext (RFC 3461 section 4)."""
    assert asked(*arguments) == (mail, rcpt)


@pytest.mark.parametrize(
    "arguments",
    [
        ("-Nalways",), ("-N", "never,delay"), ("-N", "delay,delay"), ("-N", "delay,"), ("-Rbody",), ("-V", "x\r\nRSET"), ("-V", "ü"),
        ("-V", "x" * 101), ("-V", "=" * 34),
    ],
)  # fmt: skip
def test_what_they_cannot_be_is_said(arguments: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong option sends nothing: the caller would wait for a notice that never comes."""
    with pytest.raises(ValueError, match=r"-[NRV]"):
        asked(*arguments)
    assert run([*arguments, "to@b.example"], b"Subject: x\n\nx\n") == EX_DATAERR
    assert "sendmail: -" in capsys.readouterr().err
