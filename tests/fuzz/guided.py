"""One target under atheris, which follows the code that an input reaches: `python -m tests.fuzz.guided NAME [libFuzzer's options]`."""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["upesi"]):
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Never returns: the fuzzer ends the process."""
    name = sys.argv.pop(1)
    atheris.Setup(sys.argv, TARGETS[name])
    atheris.Fuzz()


if __name__ == "__main__":
    main()
