"""What is compiled: the modules that pyproject.toml names, all of them, and none that would become something else by it."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import os
from pathlib import Path
from types import ModuleType

import pytest

_ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("upesi_compile", _ROOT / "scripts" / "compile.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(
    ("source", "problem"),
    [
        ("class A(msgspec.Struct, frozen=True): pass", "keywords of class A"),
        ("class A(UpesiError):\n    status = '5.6.3'", "values in class A"),
        ("class A(UpesiError):\n    status: str = '5.6.3'", "values in class A"),
        ("view = view[os.write(descriptor, view) :]", "twice"),
        ("view = view[: max(0, wanted)]", "twice"),
        (
            "async def f():\n    try:\n        await g()\n    except A as e:\n        h(e)\n    except B as e:\n        h(e)",
            "several types in f",
        ),
        ("class A:\n    @b.setter\n    def b(self, value):\n        self._b = value", "delete b"),
        ("def f():\n    with open(a) as file:\n        for line in file:\n            yield line", "f opens"),
        ("def f():\n    try:\n        yield from a\n    finally:\n        b()", "f opens"),
        ("class A:\n    def __del__(self):\n        self.close()", "never made"),
    ],
)
def test_what_would_change_its_meaning_is_refused(script: ModuleType, source: str, problem: str) -> None:
    """Each of these was compiled without a word, and then did something else."""
    assert any(problem in script.problem_of(node) for node in ast.walk(ast.parse(source)))


@pytest.mark.parametrize(
    "source",
    [
        "class A:\n    __slots__ = ('a',)",
        "class A(enum.Enum):\n    ONE = 1",
        "class A(Protocol):\n    open: bool",
        "class A(Generic[T]):\n    '''What it is.'''",
        "class A(Base):\n    __slots__ = ()",
        "line = data[len(head) : end]",
        "line = data[start:]",
        "def f():\n    with a:\n        b()\n    yield c",
        "async def f():\n    try:\n        await a\n    finally:\n        b()",
    ],
)
def test_what_keeps_its_meaning_is_compiled(script: ModuleType, source: str) -> None:
    """The rules refuse no more than they must."""
    assert not any(script.problem_of(node) for node in ast.walk(ast.parse(source)))


def test_every_module_that_is_named_can_be_compiled(script: ModuleType) -> None:
    """`tool.upesi.compiled` names modules that are there, once, and passes the rules."""
    found = script.modules()
    assert len(found) == len(set(found)) > 40


def test_what_is_compiled_counts_until_any_source_changes(
    script: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A compiled module that is older than a source would hide the change; going back to plain Python leaves nothing of it."""
    source, compiled, stamp = (
        tmp_path / "src" / "upesi" / "a.py",
        tmp_path / "src" / "upesi" / "b.so",
        tmp_path / "stamp",
    )
    for name, path in {
        "ROOT": tmp_path,
        "SOURCES": tmp_path / "src",
        "PACKAGE": source.parent,
        "_STAMP": stamp,
    }.items():
        monkeypatch.setattr(script, name, path)
    source.parent.mkdir(parents=True)
    source.write_text("A = 1\n")
    (tmp_path / "pyproject.toml").write_text("")
    assert not script.stale()
    compiled.touch()
    assert script.stale()
    stamp.write_text(script._digest())
    assert not script.stale()
    source.write_text("A = 2\n")
    assert script.stale()
    script.remove()
    assert (script.built(), stamp.exists()) == ([], False)


def test_what_is_named_is_what_runs(script: ModuleType) -> None:
    """Where this machine can compile, these tests run what was compiled, and so does the server."""
    if os.environ.get("UPESI_PURE"):
        pytest.skip("plain Python was asked for (UPESI_PURE)")
    if lacking := script.missing():
        pytest.skip(f"absent: {lacking}")
    files = {}
    for path in script.modules():
        name = ".".join(path.relative_to(script.SOURCES).with_suffix("").parts)
        files[name] = importlib.import_module(name).__file__ or ""
    assert [name for name, file in files.items() if not file.endswith(".so")] == []
