"""What the user sees while training: a line an epoch, and on a terminal a live bar with the time
left.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn


class _Console(Console):
    """Falls silent where Rich's ends the program (a broken pipe) or fails (a lost terminal)."""

    def __init__(self, broken: Callable[[], None], **options: Any) -> None:
        super().__init__(**options)
        self._broken = broken

    def on_broken_pipe(self) -> None:
        self._fall_silent()
        self._broken()

    def _write_buffer(self) -> None:
        try:
            super()._write_buffer()
        except (BrokenPipeError, UnicodeError):
            raise
        except (OSError, ValueError):  # a lost terminal, a closed file
            self._fall_silent()

    def _fall_silent(self) -> None:
        """For good, also for what else would write there, such as Python at its exit."""
        self.quiet = True
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Display:
    """A line an epoch; a bar under it on a terminal only, so that a log file stays plain.

    Args:
      num_epochs, steps_per_epoch: of the run.
      first_step: where a continued run starts.
      quiet: says nothing (a process that is not the lead one).
      broken: called when the pipe that is written to breaks. Where nobody can be told for another
        reason, such as a terminal that is gone, the display falls silent.
    """

    def __init__(
        self,
        num_epochs: int,
        steps_per_epoch: int,
        first_step: int = 0,
        console: Console | None = None,
        quiet: bool = False,
        broken: Callable[[], None] = lambda: None,
    ) -> None:
        self.console = console or _Console(broken, highlight=False, quiet=quiet)
        self._epochs, self._steps = num_epochs, steps_per_epoch
        self._first, self._began = first_step, time.monotonic()
        self._bar = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            TextColumn("{task.percentage:3.0f}%  {task.fields[note]}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]} left"),
            console=self.console,
            disable=not self.console.is_terminal,
        )
        total = num_epochs * steps_per_epoch
        self._task = self._bar.add_task(
            "",
            total=total,
            completed=first_step,
            epoch=f"1/{num_epochs}",
            note="compiling",
            left="?",
        )

    def __enter__(self) -> Display:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, line: str) -> None:
        """A line of its own, above the bar."""
        self.console.print(line, markup=False, soft_wrap=True)

    def at(self, epoch: int, position: int, note: str = "") -> None:
        """Moves the bar to a step of an epoch."""
        step = epoch * self._steps + position
        self._bar.update(
            self._task,
            completed=step,
            epoch=f"{epoch + 1}/{self._epochs}",
            note=note,
            left=self.left(step),
        )

    def left(self, step: int) -> str:
        """Time left as h:mm:ss, from the pace since the start."""
        done = step - self._first
        if done <= 0:
            return "?"
        seconds = round(
            (self._epochs * self._steps - step) * (time.monotonic() - self._began) / done
        )
        return f"{seconds // 3600}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"

    def epoch(self, row: Mapping[str, Any]) -> None:
        """The line of a finished epoch."""
        width = len(str(self._epochs))
        line = (
            f"epoch {row['epoch'] + 1:{width}d}/{self._epochs}  loss {row['train_loss']:.4f}"
            f"  acc {100 * row['train_accuracy']:5.2f} %"
        )
        if "val_accuracy" in row:
            balanced = 100 * row["val_balanced_accuracy"]
            line += f"  val loss {row['val_loss']:.4f}  balanced {balanced:5.2f} %"
        if "test_accuracy" in row:
            line += f"  test loss {row['test_loss']:.4f}  acc {100 * row['test_accuracy']:5.2f} %"
            shown = {
                name: f"{100 * row[name]:.1f}" for name in ("many", "medium", "few") if name in row
            }
            line += f"  {'/'.join(shown)} {'/'.join(shown.values())}"
        if f"{row.get('target')}_accuracy" in row:
            target = row["target"]
            loss, accuracy = row[f"{target}_loss"], 100 * row[f"{target}_accuracy"]
            line += f"  {target} loss {loss:.4f}  acc {accuracy:5.2f} %"
        left = self.left((row["epoch"] + 1) * self._steps)
        self.say(f"{line}  {row['images_per_second']:,.0f} images/s  {left} left")
