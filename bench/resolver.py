"""A local resolver for the duels: unbound, with made-up zones and nothing behind them. All peers ask the same one."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from bench.errors import BenchError, Unavailable
from bench.ports import require_free
from bench.processes import Program

__all__ = ["RESOLVER", "LocalResolver"]

# Node.js and others take port 53 only: an address of the loopback that nobody else has
RESOLVER = "127.0.53.53"

# unbound does what it is asked only when every thing that needs a system account is off
_CONFIG = """\
server:
  interface: {address}
  do-daemonize: no
  username: ""
  chroot: ""
  directory: "{folder}"
  pidfile: ""
  use-syslog: no
  verbosity: 0
  module-config: "iterator"
  do-not-query-localhost: no
  local-zone: "." static
{zones}{records}
remote-control:
  control-enable: no
"""
_SOA = "ns.bench. postmaster.bench. 1 3600 600 86400 300"


class LocalResolver:
    """Answers from `records` ("name. 300 IN A 192.0.2.1") of `zones`, NXDOMAIN elsewhere. A context manager; raise Unavailable."""

    def __init__(self, work: Path, zones: Sequence[str], records: Sequence[str]) -> None:
        self._folder = work / "resolver"
        self._zones, self._records = zones, records
        self._program: Program | None = None

    def __enter__(self) -> LocalResolver:
        unbound = shutil.which("unbound", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if unbound is None:
            raise Unavailable("unbound is missing (apt-get install unbound)")
        if os.geteuid() != 0:
            raise Unavailable("port 53 and a resolv.conf of the peers' own need root")
        require_free(53, RESOLVER)
        self._folder.mkdir(parents=True, exist_ok=True)
        zones = "".join(
            f'  local-zone: "{zone}" static\n  local-data: "{zone} 300 IN SOA {_SOA}"\n' for zone in self._zones
        )
        records = "".join(f"  local-data: '{record}'\n" for record in self._records)
        file = self._folder / "unbound.conf"
        file.write_text(_CONFIG.format(address=RESOLVER, folder=self._folder, zones=zones, records=records))
        self._program = Program([unbound, "-d", "-c", str(file)], self._folder / "output.log")
        return self

    def __exit__(self, *exc: object) -> None:
        assert self._program is not None
        if not self._program.alive():
            raise BenchError(f"unbound ended: {self._program.tail()}")
        self._program.stop(5)
