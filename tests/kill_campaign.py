"""A program that trains by launch.py's own command and is killed at chosen moments, again and
again.

It imports once and forks a process for each start, which takes a third of the time of a start.

    python tests/kill_campaign.py SEED KILLS LAUNCH_FLAG ...

Every start but the last is killed by SIGKILL; prints a JSON line a start: where, and its exit code.
"""

import json
import os
import random
import signal
import sys
import threading
import time
from functools import wraps

import matplotlib.pyplot  # noqa: F401  imported once, for every start
import orbax.checkpoint as ocp
import sklearn.datasets  # noqa: F401

from ltjax import command, report
from ltjax.training import loop, programs

# What a start is doing when it is killed: the function that begins it, how often it may be called
# before, and within how many seconds of that call.
MOMENTS = {
    "compiling": (programs, "create", 0, 1.5),
    "training": (programs.Programs, "advance", 5, 0.05),
    "evaluating": (programs.Programs, "evaluate", 1, 0.1),
    "saving": (ocp.CheckpointManager, "save", 1, 0.2),
    "reporting": (report, "write", 0, 0.6),
}


def plan(seed: int, kills: int) -> list[tuple[str, int, float]]:
    """Moments of the kills: those of the report last, since nothing is trained after it."""
    draw = random.Random(seed)
    names = [list(MOMENTS)[k % len(MOMENTS)] for k in range(kills)]
    draw.shuffle(names)
    names.sort(key=lambda name: name == "reporting")
    return [
        (name, draw.randint(0, MOMENTS[name][2]), draw.uniform(0, MOMENTS[name][3]))
        for name in names
    ]


def arm(name: str, calls: int, delay: float) -> None:
    """Has this process killed `delay` seconds after the function was called once more than
    `calls`.
    """
    owner, attribute = MOMENTS[name][:2]
    function, seen = getattr(owner, attribute), []

    @wraps(function)
    def counted(*arguments, **options):
        seen.append(None)
        if len(seen) == calls + 1:
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        return function(*arguments, **options)

    setattr(owner, attribute, counted)


def start(flags: list[str], moment: tuple[str, int, float] | None) -> int:
    """Exit code of a start, negative of a signal."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    status = 1
    try:
        if moment:
            arm(*moment)
        sys.argv = ["launch.py", *flags]
        command.run()
        if moment:  # at its end before the kill, on a fast machine: it comes still
            time.sleep(2 * MOMENTS[moment[0]][3])
        status = 0
    except SystemExit as ended:
        status = ended.code or 0
    finally:
        os._exit(status)


def main() -> None:
    seed, kills, flags = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    assert loop.programs is programs
    for moment in (*plan(seed, kills), None):
        print(json.dumps([moment and moment[0], start(flags, moment)]), flush=True)


if __name__ == "__main__":
    main()
