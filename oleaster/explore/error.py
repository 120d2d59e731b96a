"""What is wrong with a study or its store, in words."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import ValidationError

from oleaster.config import nearest

__all__ = ["StudyError", "first_wrong"]


class StudyError(ValueError):
    """A study that cannot be read or run; the message says what is wrong, where, and the fix."""


def first_wrong(error: ValidationError, prefix: str, known: Iterable[str]) -> str:
    """One sentence with a key and what is wrong with its value. known: keys of the table."""
    first = error.errors()[0]
    loc = first["loc"]
    key = prefix + ".".join(map(str, loc))
    if first["type"] == "missing":
        return f"the key {key} is missing"
    if first["type"] == "extra_forbidden":
        return f"unknown key {key}{nearest(str(loc[-1]), known) if len(loc) == 1 else ''}"
    message = first["msg"].removeprefix("Value error, ").removeprefix("Input ")
    message = message.replace("should be", "it must be", 1)
    return f"{key} is {first['input']!r}; {message[:1].lower()}{message[1:]}"
