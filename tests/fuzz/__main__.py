"""`python -m tests.fuzz`: every target for a share of the time, guided by coverage. README.md in this folder."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.fuzz.corpus import escaped, read_corpus, write_corpus
from tests.fuzz.slow import LARGEST, MOST, seconds
from tests.fuzz.targets import ONCE, TARGETS

# What a run may add to a corpus: short inputs can be read by people, and few keep `make test` fast
_MOST_KEPT = 40
_LONGEST_KEPT = 200


def main() -> int:
    """Run the targets; return 1 if one failed or is too slow."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--only", choices=TARGETS, action="append", help="this target; may be repeated")
    parser.add_argument("--seconds", type=int, default=600, help="for all targets together (600)")
    chosen = parser.parse_args()
    names = chosen.only or list(TARGETS)
    workers = min(len(names), os.cpu_count() or 1)
    share = max(5, chosen.seconds * workers // len(names))
    print(f"{len(names)} targets, {share} s each, {workers} at once")
    with ThreadPoolExecutor(workers) as pool:
        results = list(pool.map(lambda name: _run(name, share), names))
    return 0 if all(results) else 1


def _run(name: str, share: int) -> bool:
    """Fuzz one target in a process of its own; keep what is worth it; say how it went."""
    begun = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="upesi-fuzz-") as work:
        seeds, found = Path(work, "seeds"), Path(work, "found")
        for folder in (seeds, found):
            folder.mkdir()
        known = read_corpus(name)
        for number, data in enumerate(known):
            (seeds / str(number)).write_bytes(data)
        options = [f"-max_total_time={share}", f"-max_len={LARGEST}", "-timeout=10", f"-artifact_prefix={work}/bad-"]
        argv = [sys.executable, "-m", "tests.fuzz.guided", name, *options, str(found), str(seeds)]
        result = subprocess.run(argv, capture_output=True, text=True, errors="replace", check=False)
        bad = [path.read_bytes() for path in sorted(Path(work).glob("bad-*"))]
        fresh = [path.read_bytes() for path in found.iterdir()]
    ok = result.returncode == 0 and not bad
    slow = [data for data in fresh if len(data) > LARGEST // 4 and seconds(ONCE[name], data) >= MOST]
    kept = sorted((data for data in fresh if len(data) <= _LONGEST_KEPT), key=len)[: max(0, _MOST_KEPT - len(known))]
    if kept:
        write_corpus(name, [*known, *kept])
    mark = "ok" if ok and not slow else "FAILED"
    print(
        f"{name:12} {mark:6} {time.monotonic() - begun:5.0f} s, {len(fresh)} inputs reached new code, {len(kept)} kept"
    )
    for data in bad + slow:
        print(f"  {'slow' if data in slow else 'fails'}: {escaped(data)[:2000]}")
    if not ok:
        print(
            "\n".join("  " + line[:300] for line in result.stdout.splitlines()[-15:] + result.stderr.splitlines()[-5:])
        )
    return ok and not slow


if __name__ == "__main__":
    sys.exit(main())
