"""Postfix as a relay, tuned for throughput, from a private configuration, queue and data folder: /etc/postfix stays untouched."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from bench.errors import BenchError, Unavailable
from bench.load import find_postfix_tool
from bench.peers.peer import Peer
from bench.ports import POSTFIX, SINK, require_free
from bench.processes import wait_for_greeting

__all__ = ["Postfix", "PostfixInstance"]

_MAIN = """\
compatibility_level = 3.6
myhostname = postfix.example.org
mydestination =
mynetworks = 127.0.0.0/8
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
queue_directory = {folder}/queue
data_directory = {folder}/data
maillog_file = {folder}/mail.log
maillog_file_prefixes = {folder}
relayhost = [127.0.0.1]:{next_hop}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_recipient_restrictions = permit_mynetworks, reject
smtpd_client_connection_count_limit = 0
smtpd_client_connection_rate_limit = 0
default_process_limit = 200
default_destination_concurrency_limit = 100
initial_destination_concurrency = 50
smtp_destination_concurrency_limit = 100
smtp_connection_cache_on_demand = yes
in_flow_delay = 0
alias_maps =
alias_database =
{more}"""

# name, type, wake-up, process limit, program; all private, none in a chroot
_SERVICES = (
    ("pickup", "unix", "60", "1", "pickup"),
    ("cleanup", "unix", "-", "0", "cleanup"),
    ("qmgr", "unix", "300", "1", "qmgr"),
    ("tlsmgr", "unix", "1000?", "1", "tlsmgr"),
    ("rewrite", "unix", "-", "-", "trivial-rewrite"),
    ("bounce", "unix", "-", "0", "bounce"),
    ("defer", "unix", "-", "0", "bounce"),
    ("trace", "unix", "-", "0", "bounce"),
    ("verify", "unix", "-", "1", "verify"),
    ("flush", "unix", "1000?", "0", "flush"),
    ("proxymap", "unix", "-", "-", "proxymap"),
    ("smtp", "unix", "-", "-", "smtp"),
    ("relay", "unix", "-", "-", "smtp"),
    ("lmtp", "unix", "-", "-", "lmtp"),
    ("showq", "unix", "-", "-", "showq"),
    ("error", "unix", "-", "-", "error"),
    ("retry", "unix", "-", "-", "error"),
    ("discard", "unix", "-", "-", "discard"),
    ("local", "unix", "-", "-", "local"),
    ("virtual", "unix", "-", "-", "virtual"),
    ("anvil", "unix", "-", "1", "anvil"),
    ("scache", "unix", "-", "1", "scache"),
    ("postlog", "unix-dgram", "-", "1", "postlogd"),
)

# These become another user or write the log, hence "n" in the column of unprivileged services
_PRIVILEGED = frozenset({"local", "virtual", "postlog"})
# Their sockets are open to the set-gid commands (postdrop, postqueue)
_PUBLIC = frozenset({"pickup", "cleanup", "qmgr", "flush", "showq", "postlog"})


class PostfixInstance:
    """A Postfix of our own: `folder` holds its configuration, queue, data and log. Needs root, as Postfix's master does.

    The folder's parents must be open to the user `postfix`, which a home folder or pytest's are not.
    """

    def __init__(self, folder: Path, port: int, next_hop: int = SINK, more: str = "") -> None:
        self.folder, self.port, self.next_hop, self._more = folder, port, next_hop, more

    def start(self) -> None:
        """Write the configuration, start, wait for the greeting; raise Unavailable or BenchError."""
        find_postfix_tool("postfix")
        if os.geteuid() != 0:
            raise Unavailable("Postfix can be started by root only")
        require_free(self.port)
        for name in ("", "etc", "queue", "data"):
            (self.folder / name).mkdir(parents=True, exist_ok=True, mode=0o755)
        subprocess.run(["chown", "postfix", self.folder / "data"], check=True)
        self._write_configuration()
        self._postfix("start")
        wait_for_greeting(self.port)

    def _write_configuration(self) -> None:
        text = _MAIN.format(folder=self.folder, next_hop=self.next_hop, more=self._more)
        (self.folder / "etc/main.cf").write_text(text)
        smtpd = f"127.0.0.1:{self.port} inet n - n - - smtpd\n"
        services = "".join(
            f"{name} {kind} {'n' if name in _PUBLIC else '-'} {'n' if name in _PRIVILEGED else '-'} n {wake} {limit} {program}\n"
            for name, kind, wake, limit, program in _SERVICES
        )
        (self.folder / "etc/master.cf").write_text(smtpd + services)

    def _postfix(self, verb: str, check: bool = True) -> None:
        argv = [find_postfix_tool("postfix"), "-c", str(self.folder / "etc"), verb]
        # Its output goes to a file: the daemons that it leaves behind would hold a pipe open for ever
        with (self.folder / "postfix.out").open("ab") as output:
            result = subprocess.run(argv, stdout=output, stderr=output, stdin=subprocess.DEVNULL, check=False)
        if check and result.returncode != 0:
            tail = (self.folder / "postfix.out").read_text(errors="replace")[-500:]
            raise BenchError(f"postfix {verb} failed: {tail}")

    @property
    def pid(self) -> int:
        """The process id of its master."""
        return int((self.folder / "queue/pid/master.pid").read_text())

    def stop(self) -> None:
        """Stop it; harmless where it does not run."""
        self._postfix("stop", check=False)


class Postfix(Peer):
    """Postfix relaying to the sink."""

    name = "Postfix"
    port = POSTFIX
    guarantee = "each message's file is fsynced before its 250 (created under its final name, END record inside)"

    def __init__(self, work: Path, core: int | None = None) -> None:
        super().__init__(work, core)
        self._instance = PostfixInstance(self.folder, self.port)

    def argv(self) -> list[str]:
        """Return nothing: `postfix start` leaves a daemon, so there is no child to hold."""
        return []

    def version(self) -> str:
        """Return what `postconf` says."""
        argv = [find_postfix_tool("postconf"), "-h", "mail_version"]
        return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()

    @property
    def pid(self) -> int:
        """The master's process id."""
        return self._instance.pid

    def __enter__(self) -> Postfix:
        self._instance.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._instance.stop()
