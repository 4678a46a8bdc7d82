"""Wheels with compiled modules, where `UPESI_COMPILE=1` asks for them; any other wheel is plain Python and runs everywhere."""

from __future__ import annotations

import os
import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class CompiledModules(BuildHookInterface[Any]):
    """What hatchling calls around the building of a wheel."""

    def dependencies(self) -> list[str]:
        """Say what building takes besides hatchling: mypyc looks at the types of whatever the sources import."""
        return ["mypy>=2.4", "setuptools", *self.metadata.core.dependencies] if self._wanted("standard") else []

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, and add what comes of it."""
        if not self._wanted(version):
            return
        script = runpy.run_path(str(Path(self.root, "scripts", "compile.py")))
        script["compile_modules"]()
        build_data["pure_python"] = False
        build_data["infer_tag"] = True
        for path in script["built"]():
            build_data["force_include"][str(path)] = str(path.relative_to(script["SOURCES"]))

    def _wanted(self, version: str) -> bool:
        return version != "editable" and os.environ.get("UPESI_COMPILE", "0") not in ("", "0")
