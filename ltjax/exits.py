"""How the command ends when something is wrong: one line, and a status that says what."""

from __future__ import annotations

import contextlib
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from absl import flags

from ltjax import fields, recipes
from ltjax.names import nearest


def flag_error(error: Exception, argv: Sequence[str]) -> str:
    """The error of the flags `argv` as one line; ml_collections' own repeat the whole config and
    escape their quotes.
    """
    text = str(error).replace("\\n", " ").replace("\\'", "'")
    if "has no attribute 'get_config'" in text:
        return "the file of --config has no get_config(); expected one that returns a ConfigDict"
    if isinstance(error, (AttributeError, KeyError)):
        named = re.search(r'instead of "(\w+)"|[Kk]ey "?(\w+)"?|(\w+)', text)
        last = next(filter(None, named.groups()), text) if named else text
        given = (
            re.match(rf"--?config\.((?:\w+\.)*{re.escape(last)}(?:\.\w+)*)(?:=|$)", one)
            for one in argv
        )
        name = next((found[1] for found in given if found), last)
        near = nearest(name, fields.flat(recipes.load(recipes.folder() / "base.py")))
        return f"unknown config field {name!r}" + (f"; did you mean {near!r}?" if near else "")
    text = " ".join(text.split())
    return text if isinstance(error, flags.Error) else f"{type(error).__name__}: {text}"


def unexpected(error: Exception) -> bool:
    """Errors raised outside ltjax: their line may not say enough."""
    return f"{os.sep}ltjax{os.sep}" not in str(raised_in(error))


def raised_in(error: Exception) -> Path:
    """The file of the program that an error comes from."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return Path(trace.tb_frame.f_code.co_filename if trace is not None else "")


def uncaught(kind: Any, error: BaseException, trace: Any) -> None:
    if str(error) != "Event loop is closed":
        sys.__excepthook__(kind, error, trace)


def lost(error: Exception) -> NoReturn:
    """Ends at once: leaving in good order would wait for the process that is gone."""
    reason = " ".join(str(error).split())[:160]
    print(
        f"{program()}: another process was lost or failed ({reason});"
        " start all of them again: the same command continues from the last checkpoint",
        file=sys.stderr,
        flush=True,
    )
    os._exit(4)


def program() -> str:
    """As it was started: launch.py, or ltjax."""
    return "launch.py" if Path(sys.argv[0]).name == "launch.py" else "ltjax"


def program_with_python() -> str:
    return "python launch.py" if program() == "launch.py" else "ltjax"


def fail(message: str, status: int = 2) -> NoReturn:
    """Of several processes one that fails alone ends at once, and the others then as by a loss:
    leaving in good order would wait for them.
    """
    with contextlib.suppress(OSError):  # a terminal that is gone
        print(f"{program()}: {message}", file=sys.stderr, flush=True)
    if "ltjax.devices" in sys.modules:
        from ltjax import devices

        if devices.several_processes() and not devices.together():
            os._exit(status)
    sys.exit(status)


def open_what_is_closed() -> None:
    """Standard streams that the caller closed lead nowhere; a file would take their numbers."""
    while (number := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(number)
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")
