"""The error for an unknown name: it lists the known ones and the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """A ValueError to raise: "WHAT 'nmae'; did you mean 'name'? known: name, ..."."""
    known = list(known)
    near = nearest(name, known)
    hint = f"did you mean {near!r}? " if near else ""
    return ValueError(f"{what} {name!r}; {hint}known: {', '.join(known)}")


def nearest(name: object, known: Iterable[str]) -> str | None:
    """The known name that is most like a name, None where none is like it."""
    return next(iter(difflib.get_close_matches(str(name), list(known), 1)), None)
