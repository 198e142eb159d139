"""One writer to a work directory."""

from __future__ import annotations

import os
import socket
import time
from pathlib import Path

from filelock import FileLock, Timeout


class Lock:
    """Held for the length of a run, by WORKDIR/lock; the system frees it when the process dies.

    WORKDIR/lock.holder tells who holds it, or held it last.
    """

    def __init__(self, workdir: Path) -> None:
        """Raises ValueError, naming host and process, if another process holds it."""
        workdir.mkdir(parents=True, exist_ok=True)
        holder = workdir / "lock.holder"
        self._lock = FileLock(workdir / "lock", thread_local=False)
        try:
            self._lock.acquire(timeout=0)
        except Timeout:
            told = (
                holder.read_text(encoding="utf-8").strip() if holder.exists() else "another process"
            )
            raise ValueError(
                f"{workdir} is in use by {told};"
                " wait for it to end, stop it, or use another --workdir"
            ) from None
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        told = f"process {os.getpid()} on {socket.gethostname()}, since {since}\n"
        holder.write_text(told, encoding="utf-8")

    def release(self) -> None:
        self._lock.release()
