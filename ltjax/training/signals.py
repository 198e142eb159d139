"""Signals that ask a run to stop, collected instead of obeyed at once."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def caught() -> Iterator[list[int]]:
    """Collects SIGTERM, Ctrl-C and a closed terminal's SIGHUP (but for nohup's, which ignores it)
    instead of dying by them; a second Ctrl-C interrupts at once.
    """
    received: list[int] = []

    def handle(signum, frame):
        if received and signum == signal.SIGINT:
            raise KeyboardInterrupt
        received.append(signum)

    asking = [signal.SIGTERM, signal.SIGINT]
    if hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        asking.append(signal.SIGHUP)
    try:
        previous = {signum: signal.signal(signum, handle) for signum in asking}
    except ValueError:  # not the main thread (a library user's choice): leave signals alone
        yield received
        return
    try:
        yield received
    finally:
        for signum, handler in previous.items():
            signal.signal(signum, handler)
