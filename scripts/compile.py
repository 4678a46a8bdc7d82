"""Compile the modules on the path of every message, beside their sources (`tool.upesi.compiled` in pyproject.toml names them).

    compile.py            compile, where a source has changed since
    compile.py --remove   back to plain Python
    compile.py --able     exit with 1 where this machine lacks what compiling takes

mypyc makes C of the same typed sources: a quarter less time for each message. Nothing needs it: without a C compiler, or where Upesi was
installed as a pure wheel, the very same modules run as plain Python. Every source counts for what is stale: a compiled module knows
the types of the others.
"""

from __future__ import annotations

import ast
import concurrent.futures
import contextlib
import hashlib
import os
import shutil
import sys
import sysconfig
import time
import tomllib
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SOURCES = ROOT / "src"
PACKAGE = SOURCES / "upesi"
BUILD = ROOT / "build" / "compiled"
LOG = BUILD / "log"
_STAMP = BUILD / "stamp"
# the code of all modules is in one library, which stands beside the package: a call from one to another is a call in C
_GROUP = "upesi"


def modules() -> list[Path]:
    """The sources to compile.

    Raises:
        SystemExit: one is not there, or holds what cannot be compiled.
    """
    names = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["upesi"]["compiled"]
    found = [PACKAGE / name for name in names]
    for path in found:
        if not path.is_file():
            raise SystemExit(f"compile: tool.upesi.compiled in pyproject.toml: there is no {path}")
        _check(path)
    return found


def _check(path: Path) -> None:
    """Refuse what mypyc turns into something else without a word (seen with 2.4)."""
    for node in ast.walk(ast.parse(path.read_text())):
        if problem := problem_of(node):
            raise SystemExit(f"compile: {path.relative_to(ROOT)}:{getattr(node, 'lineno', 0)}: {problem}: not compiled")


def problem_of(node: ast.AST) -> str:
    """What would be lost of `node`, "" if nothing."""
    if isinstance(node, ast.ClassDef):
        if node.keywords:
            return f"the keywords of class {node.name} would be ignored: a struct that is frozen no longer would be"
        if node.bases and not _NATIVE.issuperset(_names(node)) and any(map(_is_value, node.body)):
            return f"the values in class {node.name} would not replace those of its base"
    if isinstance(node, ast.Slice):
        calls = [
            part
            for bound in (node.lower, node.upper)
            if bound
            for part in ast.walk(bound)
            if isinstance(part, ast.Call)
        ]
        if any(ast.unparse(call.func) != "len" for call in calls):
            return "a call within a slice would happen twice where the sequence is none of the plain ones"
    if isinstance(node, ast.FunctionDef) and any(ast.unparse(each).endswith(".setter") for each in node.decorator_list):
        return f"to delete {node.name} would crash the process: a property that can be set does not look whether it is"
    if isinstance(node, ast.FunctionDef) and node.name == "__del__":
        return "__del__ would run on what was never made, and crash the process"
    if isinstance(node, ast.FunctionDef) and any(map(_waits_inside, ast.walk(node))):
        return f"what {node.name} opens would stay open where nobody asks it to the end: a generator that is dropped is not closed"
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (name := _shared_name(node)):
        return f"{name} stands for exceptions of several types in {node.name}: where it waits, only the first would be caught"
    return ""


def _waits_inside(node: ast.AST) -> bool:
    """Whether `node` is to be left in order (`with`, `finally`), and yields before it is."""
    if not (isinstance(node, ast.With) or (isinstance(node, ast.Try) and node.finalbody)):
        return False
    return any(isinstance(each, ast.Yield | ast.YieldFrom) for part in node.body for each in ast.walk(part))


def _shared_name(function: ast.AST) -> str:
    """A name that several `except` clauses of `function` give to different types, "" if there is none."""
    types: dict[str, str] = {}
    for node in ast.walk(function):
        if isinstance(node, ast.ExceptHandler) and node.name and node.type:
            kind = ast.unparse(node.type)
            if types.setdefault(node.name, kind) != kind:
                return node.name
    return ""


# bases that say nothing of values
_NATIVE = frozenset(("Protocol", "Generic", "enum.Enum", "enum.StrEnum", "enum.IntEnum"))


def _names(node: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).partition("[")[0] for base in node.bases}


def _is_value(statement: ast.stmt) -> bool:
    """Whether this line of a class gives a value to an attribute."""
    return (isinstance(statement, ast.AnnAssign) and statement.value is not None) or (
        isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) != "__slots__"
    )


def built() -> list[Path]:
    """The compiled modules that are there."""
    return sorted(SOURCES.rglob("*.so"))


def remove() -> None:
    """Go back to plain Python."""
    for path in built():
        path.unlink()
    _STAMP.unlink(missing_ok=True)


def stale() -> bool:
    """Whether something is compiled, of other sources than those that are there now."""
    return bool(built()) and (not _STAMP.exists() or _STAMP.read_text() != _digest())


def _digest() -> str:
    seen = hashlib.sha256(f"{sys.version} {version('mypy')}".encode())
    for path in [ROOT / "pyproject.toml", Path(__file__).resolve(), *sorted(PACKAGE.rglob("*.py"))]:
        seen.update(str(path).encode() + b"\0" + path.read_bytes())
    return seen.hexdigest()


def missing() -> str:
    """What this machine lacks to compile, "" if nothing."""
    if not (Path(sysconfig.get_path("include")) / "Python.h").exists():
        return "the headers of Python (python3-dev)"
    return "" if shutil.which("cc") or shutil.which("gcc") else "a C compiler (gcc)"


def compile_modules() -> None:
    """Compile what `modules` names and put it beside the sources.

    Raises:
        SystemExit: it cannot be compiled; `LOG` says why, and nothing compiled is left.
    """
    paths = modules()
    digest = _digest()
    shutil.rmtree(BUILD / "lib", ignore_errors=True)
    BUILD.mkdir(parents=True, exist_ok=True)
    try:
        with _into(LOG):
            _build([str(path.relative_to(ROOT)) for path in paths])
    finally:
        # only now, and never written over: a server that runs holds on to what it loaded
        remove()
    for path in (BUILD / "lib").rglob("*.so"):
        shutil.copyfile(path, SOURCES / path.relative_to(BUILD / "lib"))
    _STAMP.write_text(digest)


def _build(paths: list[str]) -> None:
    """Make C of `paths` and compile it, as many files at once as there are processors."""
    from mypyc.build import mypycify
    from setuptools import Distribution
    from setuptools.command.build_ext import build_ext

    class Build(build_ext):
        def build_extensions(self) -> None:
            compile_one = self.compiler._compile

            def compile_all(sources: list[str], output_dir: str | None = None, **options: Any) -> list[str]:
                _, objects, last, flags, units = self.compiler._setup_compile(
                    output_dir,
                    options.get("macros"),
                    options.get("include_dirs"),
                    sources,
                    options.get("depends"),
                    options.get("extra_postargs"),
                )
                arguments = self.compiler._get_cc_args(flags, options.get("debug"), options.get("extra_preargs"))
                with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
                    jobs = [
                        pool.submit(compile_one, name, *units[name], arguments, last, flags)
                        for name in objects
                        if name in units
                    ]
                    for job in jobs:
                        job.result()
                return list(objects)

            self.compiler.compile = compile_all
            super().build_extensions()

    os.chdir(ROOT)
    extensions = mypycify(
        ["--config-file", "pyproject.toml", *paths],
        opt_level="2",
        debug_level="0",
        multi_file=True,
        group_name=_GROUP,
        target_dir=str(BUILD / "c"),
    )
    command = Build(Distribution({"name": "upesi", "ext_modules": extensions, "package_dir": {"": "src"}}))
    command.build_lib, command.build_temp = str(BUILD / "lib"), str(BUILD / "objects")
    command.ensure_finalized()
    command.run()


@contextlib.contextmanager
def _into(path: Path) -> Iterator[None]:
    """Send what compilers print to `path`; when one fails, say so."""
    sys.stdout.flush()
    kept = os.dup(1), os.dup(2)
    log = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.dup2(log, 1)
        os.dup2(log, 2)
        yield
    except (Exception, SystemExit) as error:
        raise SystemExit(f"compile: failed: {path.relative_to(ROOT)} says why ({error})") from error
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os.dup2(kept[0], 1)
        os.dup2(kept[1], 2)
        for descriptor in (*kept, log):
            os.close(descriptor)


def main(arguments: list[str]) -> int:
    """Do what `arguments` say; the exit code."""
    if arguments == ["--remove"]:
        remove()
        return 0
    if arguments == ["--able"]:
        return int(bool(missing()))
    if arguments:
        raise SystemExit(__doc__)
    if built() and not stale():
        for path in built():
            # a source may have been written anew as it was, and looks newer
            path.touch()
        return 0
    if lacking := missing():
        remove()
        print(
            f"compile: plain Python will run, a quarter slower, for want of {lacking}: apt-get install gcc python3-dev",
            file=sys.stderr,
        )
        return 0
    print("compile: the modules on the path of every message (about a minute; UPESI_PURE=1 leaves it out)")
    started = time.monotonic()
    compile_modules()
    print(f"compile: {len(built()) - 1} modules in {time.monotonic() - started:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
