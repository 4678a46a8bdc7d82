"""A million deferred messages in the spool: start-up, memory, and the answer to "why does this one wait?"."""

from __future__ import annotations

from bench.result import Result
from bench.setting import Setting


class MillionDuel:
    name = "million"
    title = "t"

    def run(self, setting: Setting) -> Result:
        raise NotImplementedError
