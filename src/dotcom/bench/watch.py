"""The clock of the bench: variants in turns, and fixed work that shows whether the machine stayed the same."""

import gc
import os
import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from rich.console import Console
from rich.progress import track

from dotcom.bench.memory import give_back_memory
from dotcom.bench.row import Effort
from dotcom.benchmark.session import calls_in, canary, fixed_work, turns
from dotcom.benchmark.statistics import Ratio, drift, paired_ratio
from dotcom.hardware import cores, keep_memory

ROUNDS: dict[Effort, int] = {"quick": 7, "normal": 9, "full": 21}
STEADY = 0.15  # drift of the fixed work up to which the machine counts as quiet
TRIES = 3  # of the fixed work; the fastest counts, so that an interrupt is no drift
SLOW = 1.0  # seconds of a call from which on one is a turn, without another to warm the caches

Clock = Callable[[], float]


@dataclass(frozen=True)
class Times:
    """Milliseconds of one call of each variant, one per round."""

    rounds: Mapping[str, Sequence[float]]

    def ms(self, name: str) -> float:
        """The median of a variant."""
        return statistics.median(self.rounds[name])

    def ratio(self, reference: str, name: str) -> Ratio:
        """Time of the reference over that of a variant: above 1, the variant is faster."""
        return paired_ratio(self.rounds[reference], self.rounds[name])


@dataclass
class Watch:
    """Measures for all sections, and remembers every canary.

    Args:
        effort: Decides the rounds.
        clock: In seconds. CPU time of this process is what a busy machine changes least, for one thread.
        work: That never changes; none: that of ``dotcom.benchmark.session``.
        load: Load average of the last minute.
        cores: Above how much load the machine counts as contended.
    """

    effort: Effort
    clock: Clock = time.process_time
    work: Callable[[], None] | None = None
    load: Callable[[], float] = lambda: os.getloadavg()[0]
    cores: int = field(default_factory=cores)
    beats: list[float] = field(default_factory=list)  # milliseconds of the fixed work
    loads: list[float] = field(default_factory=list)
    window: int = 0  # the first beat of what is being measured

    def __post_init__(self) -> None:
        self.work = self.work or fixed_work()

    @property
    def rounds(self) -> int:
        """Turns of each variant."""
        return ROUNDS[self.effort]

    def start(self) -> None:
        """What is measured from here on is judged by the canaries from here on."""
        self.window = len(self.beats)
        self.beat()

    def beat(self) -> None:
        """Do the fixed work, and note its time and the load."""
        assert self.work is not None
        self.beats.append(min(canary(self.work, self.clock) for _ in range(TRIES)))
        self.loads.append(self.load())

    def drift(self, first: int = 0) -> float:
        """How far the times of the fixed work go apart since a beat, as a fraction of their median."""
        return drift(self.beats[first:]) if self.beats[first:] else 0.0

    def contended(self, first: int | None = None) -> bool:
        """Whether the fixed work drifted, or more ran than there are cores; since a beat, or since ``start``."""
        first = self.window if first is None else first
        return self.drift(first) > STEADY or max(self.loads[first:], default=0.0) > self.cores

    def turns(
        self,
        variants: Mapping[str, Callable[[], object]],
        what: str,
        rounds: int | None = None,
        plain: Collection[str] = (),
    ) -> Times:
        """Measure variants in turns, forwards and backwards, after each has warmed up.

        Args:
            variants: Functions by name, the reference among them. They use one thread, unless the clock is the wall's.
            what: Is measured, for the progress bar.
            rounds: Turns of each; default: as many as the effort takes.
            plain: Variants that do without kept memory; see ``dotcom.hardware.keep_memory``.
        """
        self.start()
        calls = {name: self._warmed_up(run) for name, run in variants.items()}
        times: dict[str, list[float]] = {name: [] for name in variants}
        with uncollected():
            for number in shown(range(rounds or self.rounds), what):
                self.beat()
                for name in turns(list(variants), number):
                    (give_back_memory if name in plain else keep_memory)()
                    times[name].append(self._turn(variants[name], calls[name]))
        keep_memory()
        self.beat()
        return Times(times)

    def _warmed_up(self, run: Callable[[], object]) -> int:
        """The number of calls that make a turn, after two; after one that was slow."""
        spent = self._time(run)
        return 1 if spent > SLOW else calls_in(min(spent, self._time(run)))

    def _turn(self, run: Callable[[], object], calls: int) -> float:
        """Milliseconds: the median of some calls, after one that brings back what others pushed out of the caches."""
        if calls > 1:
            run()
        return statistics.median(self._time(run) for _ in range(calls)) * 1000

    def _time(self, run: Callable[[], object]) -> float:
        started = self.clock()
        run()
        return self.clock() - started


def shown(steps: Sequence[int], what: str) -> Iterator[int]:
    """The steps, with a bar on a terminal."""
    console = Console(stderr=True)
    yield from track(steps, what, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def uncollected() -> Iterator[None]:
    """Keep the garbage collector out of what is timed."""
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
