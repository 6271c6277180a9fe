"""How long something takes, how often it can be done in a second.

A `Meter` warms up, then repeats a step for as long as the run allows::

    Meter(seconds=2).rate(lambda: ray.get(f.remote()))     # calls per second
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass

Step = Callable[[], object]


@dataclass(frozen=True)
class Meter:
    """Measures steps, each for about `seconds`, at least once."""

    seconds: float
    clock: Callable[[], float] = time.perf_counter

    def rate(self, step: Step, count: float = 1, warm_up: Step | None = None) -> float:
        """Give how many units per second `step` gets done, when one call does `count` of them.

        Without `warm_up` the step itself runs for a while before the clock starts. Where it is too
        long for that, `warm_up` is called once instead.
        """
        if warm_up is None:
            repeats = self._warm_up(step, self.seconds / 4) // 10 + 1
        else:
            repeats = 1
            warm_up()
        done = 0
        start = self.clock()
        while (elapsed := self.clock() - start) < self.seconds or not done:
            for _ in range(repeats):
                step()
            done += repeats
        return done * count / elapsed

    def duration(self, step: Step, warm_up: Step | None = None) -> float:
        """Give the median of the seconds `step` takes; `warm_up` runs once before, if given."""
        if warm_up is not None:
            warm_up()
        times: list[float] = []
        while sum(times) < self.seconds:
            times.append(self.once(step))
        return statistics.median(times)

    def once(self, step: Step) -> float:
        """Give the seconds that a single call of `step` takes."""
        start = self.clock()
        step()
        return self.clock() - start

    def _warm_up(self, step: Step, seconds: float) -> int:
        """Call `step` for `seconds`, at least once; give how often it was called."""
        calls = 0
        start = self.clock()
        while not calls or self.clock() - start < seconds:
            step()
            calls += 1
        return calls
