"""Timing side by side: contenders take turns in one process, and what counts is the median of the rounds' ratios.

A shared machine slows everything down for a while; it slows both sides of a ratio. So milliseconds are shown, and ratios are trusted.
Each benchmark is `python -m benchmarks.<name>` and ends with `close(...)`, one line that programs read: `<name>: ratio R target T`.
"""

import gc
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from flows import ENVIRONMENT

MIN_TIMING_S = 0.02  # shorter calls are repeated until a timing lasts this long


@dataclass(frozen=True)
class Timings:
    """Seconds per call: one number per contender and round, rounds aligned across contenders."""

    seconds: Mapping[str, tuple[float, ...]]

    def median(self, name: str) -> float:
        """Seconds per call of the contender `name`, median over the rounds."""
        return statistics.median(self.seconds[name])

    def ratio(self, ours: str, reference: str) -> float:
        """How many times faster `ours` is than `reference`: the median of the rounds' `reference / ours`."""
        pairs = zip(self.seconds[reference], self.seconds[ours], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)


def begin_as_stages_do(name: str) -> None:
    """Start `python -m benchmarks.<name>` anew, once: in the environment that stages and `attune` set before they load torch."""
    if "ATTUNE_BENCHMARK" not in os.environ:
        environment = {**ENVIRONMENT, **os.environ, "ATTUNE_BENCHMARK": name}
        os.execve(sys.executable, [sys.executable, "-m", f"benchmarks.{name}", *sys.argv[1:]], environment)


def measure(contenders: Mapping[str, Callable[[], object]], *, num_rounds: int = 7, min_timing_s: float = MIN_TIMING_S) -> Timings:
    """Time the contenders round-robin for `num_rounds` rounds, after one uncounted call of each.

    Each round begins with another contender, so that none always runs on what the same neighbour left in the caches.
    """
    names = list(contenders)
    calls = {name: _calls_for(contenders[name], min_timing_s) for name in names}
    seconds: dict[str, list[float]] = {name: [] for name in names}
    gc.collect()
    gc.disable()
    try:
        for turn in range(num_rounds):
            start = turn % len(names)
            for name in names[start:] + names[:start]:
                seconds[name].append(_seconds_per_call(contenders[name], calls[name]))
    finally:
        gc.enable()
    return Timings({name: tuple(values) for name, values in seconds.items()})


def print_table(title: str, timings: Timings, *, reference: str, units: float = 1.0, unit: str = "call") -> None:
    """Print a row per contender: milliseconds per `unit`, `unit`s per second, and times faster than `reference`.

    units: how many of them one call handles.
    """
    width = max(len(name) for name in [title, *timings.seconds])
    print(f"\n{title:<{width}}  {'ms/' + unit:>12}  {unit + '/s':>12}  {'x ' + reference:>{max(9, len(reference) + 2)}}")
    for name in timings.seconds:
        each = timings.median(name) / units
        print(f"{name:<{width}}  {each * 1e3:>12.3f}  {1 / each:>12.1f}  {timings.ratio(name, reference):>{max(9, len(reference) + 2)}.2f}")


def print_machine() -> None:
    """Print what the figures were measured on, and how busy it was."""
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else float("nan")
    print(f"{platform.machine()}, {os.cpu_count()} cores, load {load:.1f}, Python {platform.python_version()}")


def close(name: str, ratio: float, target: float) -> None:
    """Print the line that closes a benchmark. A ratio of at least `target` is good; for costs it is reference / ours."""
    sys.stdout.flush()
    print(f"{name}: ratio {ratio:.2f} target {target:g}")


def _calls_for(contender: Callable[[], object], min_timing_s: float) -> int:
    contender()  # compiles, loads, fills caches
    return max(1, round(min_timing_s / max(_seconds_per_call(contender, 1), 1e-9)))


def _seconds_per_call(contender: Callable[[], object], calls: int) -> float:
    start = time.perf_counter()
    for _ in range(calls):
        contender()
    return (time.perf_counter() - start) / calls
