"""What plugins say of mail besides where it goes: how soon, for how long, and what it is called (PLUGINS.md, `route`).

Priority and lifetime become times of a delivery, so the spool keeps nothing more for them. Labels go with each recipient through the queue:
they are bounded, of few characters, and choose nothing by themselves.
"""

from __future__ import annotations

import re

import msgspec

__all__ = ["LABELS", "MAX_LABEL", "NO_LABELS", "Handling", "Labels"]

# characters of one label: it is in each recipient's part of a row, in every event of its delivery, and on operators' screens
MAX_LABEL = 64
# as in RFC 6710
_HIGHEST = 9

LABELS = ("pool", "tenant", "campaign")
# what stands in command lines, tables, logs and names of metrics without quotes, and is never an option or a path upwards
_LABEL = re.compile(rf"[A-Za-z0-9][A-Za-z0-9._+@:/=-]{{0,{MAX_LABEL - 1}}}")


class Labels(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """Names that plugins gave to one recipient's mail; empty where none was given."""

    pool: str = ""
    tenant: str = ""
    campaign: str = ""

    @property
    def given(self) -> dict[str, str]:
        """Those that are not empty, by name."""
        return {name: value for name in LABELS if (value := getattr(self, name))}


NO_LABELS = Labels()


class Handling(msgspec.Struct, frozen=True, gc=False, kw_only=True):
    """How a message or one recipient's copy is handled; what is not given is as for all mail.

    `priority` is -9 to 9: a step counts as a minute of waiting, in our queue only. `lifetime` (seconds) is for how long it is tried; no
    longer than `delivery.expire`. Raises ValueError and TypeError for what cannot be.
    """

    priority: int | None = None
    lifetime: float | None = None
    pool: str = ""
    tenant: str = ""
    campaign: str = ""

    def __post_init__(self) -> None:
        if self.priority is not None:
            # bool is an int, and no priority
            if type(self.priority) is not int:
                raise TypeError("priority must be a whole number")
            if not -_HIGHEST <= self.priority <= _HIGHEST:
                raise ValueError(f"priority must be between -{_HIGHEST} and {_HIGHEST}")
        if self.lifetime is not None:
            if isinstance(self.lifetime, bool) or not isinstance(self.lifetime, int | float):
                raise TypeError("lifetime must be seconds, or a Duration")
            # NaN is not more than 0 either
            if not self.lifetime > 0:
                raise ValueError("lifetime must be more than 0")
        for name in LABELS:
            value = getattr(self, name)
            if type(value) is not str:
                raise TypeError(f"{name} must be a text")
            if value and not _LABEL.fullmatch(value):
                raise ValueError(
                    f"{name}: a label is 1 to {MAX_LABEL} of A-Z a-z 0-9 . _ + @ : / = -, a letter or digit first"
                )

    @property
    def labels(self) -> Labels:
        """The labels alone."""
        if not (self.pool or self.tenant or self.campaign):
            return NO_LABELS
        return Labels(self.pool, self.tenant, self.campaign)

    def over(self, general: Handling | None) -> Handling:
        """Return this with what it does not say taken from `general`."""
        if general is None:
            return self
        return Handling(
            priority=general.priority if self.priority is None else self.priority,
            lifetime=general.lifetime if self.lifetime is None else self.lifetime,
            pool=self.pool or general.pool,
            tenant=self.tenant or general.tenant,
            campaign=self.campaign or general.campaign,
        )
