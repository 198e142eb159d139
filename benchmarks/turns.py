"""Processes that are measured side by side, a stretch each in turn."""

from __future__ import annotations

import json
import os
import subprocess
import threading

READY = "ready for the next stretch"
"""What a process prints before each stretch; it then waits for a line."""


def take_turns(
    commands: dict[str, list[str]],
    repeats: int,
    limit: float,
    environments: dict[str, dict[str, str]] | None = None,
) -> dict[str, dict]:
    """What processes print at their end, a line of JSON each; their stretches take turns, so that a
    machine that grows slower does so for all.
    """
    started: dict[str, subprocess.Popen[str]] = {}
    for name, command in commands.items():
        environment = os.environ | (environments or {}).get(name, {})
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        started[name] = subprocess.Popen(command, text=True, env=environment, **pipes)
        timer = threading.Timer(limit, started[name].kill)
        timer.start()
        said = until(started[name], READY)
        timer.cancel()
        if READY not in said:
            why = (
                "given up"
                if started.pop(name).wait() < 0
                else f"failed ({(said or ['?'])[-1][:160]})"
            )
            print(f"{name}: {why}", flush=True)
    for _ in range(repeats):
        for process in started.values():
            print(file=process.stdin, flush=True)
            until(process, READY)
    return {
        name: json.loads(next(line for line in until(process, "") if line.startswith("{")))
        for name, process in started.items()
    }


def until(process: subprocess.Popen[str], line: str) -> list[str]:
    """What it prints up to a line, or to its end."""
    said: list[str] = []
    assert process.stdout is not None
    while (not said or said[-1] != line) and (read := process.stdout.readline()):
        said.append(read.rstrip("\n"))
    return said
