"""How many steps a call takes on a CPU."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

MOST_STEPS = 8
SECONDS = 5.0


class Pace:
    """As many steps a call as take five seconds, at most eight, and the last call's measured.

    The system maps a program's memory anew at each call and clears it, which costs a fifth of a
    ResNet-32's step; more than eight gain 3 %. A signal is answered between calls. How many there
    are changes no bit, since the program is the same. Several processes, which would have to agree,
    take one.

    Attributes:
      steps: of the next call.
    """

    def __init__(self) -> None:
        self.steps = 1
        self._calls = 0

    def timed(self, steps: int, call: Callable[[], Any]) -> Any:
        """What the call of so many steps returns, once it is computed."""
        began = time.monotonic()
        result = jax.block_until_ready(call())
        each = (time.monotonic() - began) / steps
        self._calls += 1
        if jax.process_count() == 1 and self._calls > 1:  # the first one compiles
            self.steps = int(np.clip(SECONDS / max(each, 1e-9), 1, MOST_STEPS))
        return result
