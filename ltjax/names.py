"""The error for an unknown name: it lists the known ones and the nearest."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


def unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """A ValueError to raise: "WHAT 'nmae'; did you mean 'name'? known: name, ..."."""
    known = list(known)
    near = difflib.get_close_matches(str(name), known, 1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return ValueError(f"{what} {name!r}; {hint}known: {', '.join(known)}")
