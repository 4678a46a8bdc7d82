"""Plain values from the server, taken apart with care: its version may not be ours."""

from __future__ import annotations

from upesi.control.errors import RequestFailed

__all__ = ["number_of", "records", "said", "table_of"]


def table_of(value: object) -> dict[str, object]:
    """Return `value` as a table; raise RequestFailed."""
    if not isinstance(value, dict):
        raise RequestFailed(
            f"the server answered with {type(value).__name__} instead of a table; is it of another version?"
        )
    return {str(key): item for key, item in value.items()}


def records(value: object) -> list[dict[str, object]]:
    """Return `value`, a list of tables or one table, as a list of tables; raise RequestFailed."""
    if isinstance(value, dict):
        return [table_of(value)]
    if not isinstance(value, list):
        raise RequestFailed(
            f"the server answered with {type(value).__name__} instead of a list; is it of another version?"
        )
    return [table_of(item) for item in value]


def number_of(value: object) -> float:
    """Return `value` as a number, 0 where it is none."""
    return value if isinstance(value, (int, float)) and not isinstance(value, bool) else 0


def said(outcome: object) -> str:
    """Return the outcome of an attempt as one line: who said what; empty where there is none."""
    if not isinstance(outcome, dict):
        return ""
    code = str(outcome["code"]) if outcome.get("code") else ""
    remote = f"({outcome['remote']})" if outcome.get("remote") else ""
    return " ".join(filter(None, [code, str(outcome.get("status") or ""), str(outcome.get("text") or ""), remote]))
