"""Names of attachments as they can be shown, logged and compared without harm (MSG-07).

What a stranger calls a file may be a path, hold NUL or line ends, or characters that turn the direction of writing, so that
"annexe\u202egpj.exe" is shown as "annexeexe.jpg". Nothing here raises.
"""

from __future__ import annotations

import re

__all__ = ["MAX_NAME", "safe_name"]

# what file systems take; the end stays, because it says what a desktop will do with it
MAX_NAME = 255

# controls (C0, DEL, C1), surrogates, invisible and direction-turning characters, line and paragraph separators
_UNSAFE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff\ufff9-\ufffb]"
)


def safe_name(name: str) -> str | None:
    """Return the last component of `name` without what no name should hold, at most MAX_NAME characters; None where nothing is left."""
    name = _UNSAFE.sub("", name).replace("\\", "/").rstrip("/ .").rpartition("/")[2].strip()
    if len(name) > MAX_NAME:
        stem, dot, end = name.rpartition(".")
        end = dot + end if stem and len(end) < MAX_NAME // 4 else ""
        name = name[: MAX_NAME - len(end)] + end
    return name or None
