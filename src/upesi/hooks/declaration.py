"""What a plugin author writes: the `hook` decorators, `Plugin` and `PluginSettings` (imported from `upesi.plugin`).

A decorator only leaves a note on the function; nothing is registered anywhere until the loader reads the note.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, TypeVar, overload

import msgspec

from upesi.config.units import Duration
from upesi.hooks.points import POINTS, point_named

__all__ = [
    "Declaration",
    "FilePath",
    "HookDecorators",
    "OnError",
    "Plugin",
    "PluginSettings",
    "declarations_of",
    "hook",
    "may_wait",
]

F = TypeVar("F", bound=Callable[..., object])

# what a failure of the plugin becomes: 451 4.3.0, or nothing at all
OnError = Literal["defer", "continue"]

_NOTE = "__upesi_hooks__"


class FilePath(str):
    """The path of a file; a relative one is relative to the folder of the configuration file."""

    __slots__ = ()


class _KeywordsOnly(msgspec.StructMeta):
    """Lets an author write keys in any order: one that must be given, behind an own default for `on_error`, would else be refused."""

    def __new__(
        mcls, name: str, bases: tuple[type, ...], namespace: dict[str, object], **config: object
    ) -> _KeywordsOnly:
        config.setdefault("kw_only", True)
        return super().__new__(mcls, name, bases, namespace, **config)  # type: ignore[arg-type]


class PluginSettings(msgspec.Struct, metaclass=_KeywordsOnly, forbid_unknown_fields=True, kw_only=True):
    """The keys that every plugin has in `[plugins.NAME]`. Subclass it as `Settings` inside the plugin to add its own.

    Not frozen, only because a type checker would then ask every author to write frozen=True.
    """

    # defer: when this plugin fails, mail waits. continue: mail goes on without its opinion
    on_error: OnError = "defer"
    # for each asynchronous hook; none: what its author declared, else 30 s
    deadline: Duration | None = None
    # runs even behind another plugin's final accept (a virus scanner)
    mandatory: bool = False
    # may end the chain with accept(final=True); otherwise that is an ordinary vote
    final: bool = False


class Plugin:
    """A plugin with settings, state and services.

    The loader calls the class with `settings` and, by the names of its other parameters, the services that it asks for
    (`upesi.hooks.services.SERVICES`).
    """

    # names of plugins that must be enabled too
    requires: ClassVar[tuple[str, ...]] = ()
    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: PluginSettings) -> None:
        self.settings = settings


class Declaration(msgspec.Struct, frozen=True):
    """One decorator as it was written: where the function hooks in, and between which plugins."""

    point: str
    after: tuple[str, ...] = ()
    before: tuple[str, ...] = ()
    requires: tuple[str, ...] = ()
    deadline: Duration | None = None
    mandatory: bool = False


def declarations_of(function: object) -> tuple[Declaration, ...]:
    """Return what decorators noted on `function`."""
    noted = getattr(function, _NOTE, ())
    return noted if isinstance(noted, tuple) else ()


def may_wait(function: object) -> bool:
    """Whether a hook is asynchronous: `async def`, or a plain function that by its annotation returns an Awaitable now and then.

    The second form is for hooks that nearly always have their answer: a coroutine and its task take 8 us.
    """
    annotated = getattr(function, "__annotations__", {}).get("return", "")
    return inspect.iscoroutinefunction(function) or "Awaitable[" in str(annotated)


class PointDecorator:
    """`@hook.rcpt` and `@hook.rcpt(after=[...])`."""

    __slots__ = ("_point",)

    def __init__(self, point: str) -> None:
        self._point = point

    @overload
    def __call__(self, function: F, /) -> F: ...

    @overload
    def __call__(
        self,
        /,
        *,
        after: Sequence[str] = (),
        before: Sequence[str] = (),
        requires: Sequence[str] = (),
        deadline: str | float | None = None,
        mandatory: bool = False,
    ) -> Callable[[F], F]: ...

    def __call__(
        self,
        function: F | None = None,
        /,
        *,
        after: Sequence[str] = (),
        before: Sequence[str] = (),
        requires: Sequence[str] = (),
        deadline: str | float | None = None,
        mandatory: bool = False,
    ) -> F | Callable[[F], F]:
        """Declare a hook: after and before which plugins it runs, which must be enabled, its deadline ("5s").

        Raises TypeError and ValueError for what cannot be meant, when the plugin is loaded.
        """
        declaration = Declaration(
            self._point,
            _names("after", after),
            _names("before", before),
            _names("requires", requires),
            None if deadline is None else Duration(deadline),
            mandatory,
        )

        def note(function: F) -> F:
            setattr(function, _NOTE, (*declarations_of(function), declaration))
            return function

        return note if function is None else note(function)


class HookDecorators:
    """`hook.connect`, `hook.mail`, ...: one decorator for each hook point."""

    __slots__ = ()

    def __getattr__(self, name: str) -> PointDecorator:
        return PointDecorator(point_named(name).name)

    def __dir__(self) -> list[str]:
        return list(POINTS)


def _names(key: str, names: Sequence[str]) -> tuple[str, ...]:
    # after="spf" would otherwise mean the plugins s, p and f
    if isinstance(names, str):
        raise TypeError(f'{key}= takes a list of names: {key}=["{names}"]')
    return tuple(names)


hook = HookDecorators()
