"""Heads beside a network's classifier."""

from __future__ import annotations

PREFIX = "head_"


def is_head(name: str) -> bool:
    """Whether a parameter of this first name belongs to a head; a network's own names do not begin
    so. Heads start anew where a run takes over weights without them.
    """
    return name.startswith(PREFIX)
