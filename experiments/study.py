"""The answer to "which arm is better, and can so few seeds tell?" from the folders of runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from experiments.arms import Arm, chosen_keys, group, reference
from experiments.differences import Difference, circumstances, differences
from experiments.records import USED, Run, left_out, load
from experiments.statistics import EXACT, RESAMPLES, Comparison, compare, needed_pairs

from dotcom.errors import UsageError, counted, listed


@dataclass(frozen=True)
class Study:
    """Comparable runs, by arm, and what their comparison gives.

    Args:
        metric: Name of what is compared, ``val/top1``.
        at: ``last`` epoch or ``best`` checkpoint.
        level: Of the tests.
        arms: In swept order.
        reference: The one that the others are compared with.
        comparisons: One for every other arm, in order; none if there is only one arm.
        differences: All settings in which the runs differ, the swept ones too.
        notes: Sentences that belong below the table.
    """

    metric: str
    at: str
    level: float
    arms: list[Arm]
    reference: Arm
    comparisons: list[Comparison]
    differences: list[Difference]
    notes: list[str]

    @property
    def confidence(self) -> str:
        """Of the intervals, ``95 %``."""
        return f"{100 * (1 - self.level):g} %"

    @property
    def percent(self) -> bool:
        """Whether the metric is a share in [0, 1], shown in percent: all of the val split but losses."""
        return self.metric.startswith("val") and "loss" not in self.metric


def read_study(
    paths: Sequence[str | Path],
    metric: str | None = None,
    at: str = "last",
    by: Sequence[str] = (),
    control: str | None = None,
    allow: Sequence[str] = (),
    level: float = 0.05,
) -> Study:
    """Load, check, group, compare.

    Args:
        paths: Folders of runs and sweeps.
        metric: What to compare; if None, the runs' monitor, or of runs with and without a moving average ``used/``
            that metric, see ``Run.named``.
        at: ``last`` or ``best``.
        by: Swept keys, where the runs do not say.
        control: Name of the reference arm; see ``experiments.arms.reference``.
        allow: Keys that may differ though they were not swept; ``*`` stands for anything.
        level: Of the tests; intervals cover with 1 - level.

    Raises:
        UsageError: If a folder holds no finished run, runs are not comparable, or the metric was not measured.
    """
    runs = load(paths)
    keys = chosen_keys(runs, by)
    found = differences(runs, keys)
    allowed = comparable(found, keys, allow)
    arms = group(runs, keys)  # afterwards: runs of other data are not the same arm
    metric = metric or shared_monitor(runs)
    chosen = reference(arms, control)
    scores = {arm.name: arm.scores(metric, at) for arm in arms}
    check_paired(scores, chosen.name)
    rows = compare(scores, chosen.name, level)
    notes = [
        *explanation(metric, at, level, rows),
        *cautions(rows, level),
        *(f"allowed to differ: {difference}" for difference in allowed),
        *circumstances(runs),
        *left_out(paths),
    ]
    return Study(metric, at, level, arms, chosen, rows, found, notes)


def check_paired(scores: Mapping[str, Mapping[int, float]], control: str) -> None:
    """Raise UsageError unless every arm shares a seed with the reference."""
    for name, values in scores.items():
        if not values.keys() & scores[control].keys():
            mine, theirs = (listed([*map(str, seeds)], 8) for seeds in (values, scores[control]))
            raise UsageError(
                f"{name} (seeds {mine}) and {control} (seeds {theirs}): no seed in common; pairs are of one seed"
            )


def comparable(found: Sequence[Difference], keys: Sequence[str], allow: Sequence[str]) -> list[Difference]:
    """The differences that nobody swept but ``allow`` lets pass.

    Raises:
        UsageError: If there are others; it lists them.
    """
    unmeant = [difference for difference in found if not difference.swept]
    allowed = [d for d in unmeant if any(fnmatchcase(d.key, pattern) for pattern in allow)]
    if refused := [difference for difference in unmeant if difference not in allowed]:
        names = ",".join(difference.key for difference in refused)
        raise UsageError(
            f"the runs differ outside of what was swept ({', '.join([*keys, 'seed'])}), so a comparison would mislead: "
            f"{'; '.join(map(str, refused))}; "
            f"leave runs out, name swept keys with --by, or accept it with --allow {names}"
        )
    return allowed


def shared_monitor(runs: Sequence[Run]) -> str:
    """The metric that all runs watched, of the network or of its moving average, whichever each run uses."""
    monitors = sorted({run.monitor for run in runs})
    if len(monitors) > 1:
        used = {USED + monitor.partition("/")[2] for monitor in monitors}
        if len(used) == 1 and all(run.named(*used) == run.monitor for run in runs):
            return used.pop()
        raise UsageError(f"the runs watched {listed(monitors)}; choose one of their metrics with --metric NAME")
    return monitors[0]


def explanation(metric: str, at: str, level: float, rows: Sequence[Comparison]) -> list[str]:
    """What the numbers are."""
    when = {
        "last": "after the last epoch",
        "best": "of the best epoch, chosen on the same validation images, which favours noise",
    }
    whose = ", of the network that is used: of the moving average where a run has one," if USED in metric else ""
    notes = [f"{metric}{whose} {when[at]}."]
    if rows:
        drawn = (
            "" if all(row.exact for row in rows) else f", {RESAMPLES:,} random ones (seeded) from {EXACT + 1} pairs on"
        )
        notes.append(
            f"Differences: arm minus {rows[0].reference}, paired by seed. {100 * (1 - level):g} % interval of the "
            f"paired t test, not corrected. p: two-sided; sign-flip over all 2^n signs{drawn}; Holm over "
            f"{counted(len(rows), 'row')}."
        )
    return notes


def cautions(rows: Sequence[Comparison], level: float) -> list[str]:
    """What the numbers cannot say."""
    notes = []
    if weak := [row for row in rows if row.underpowered]:
        pairs = sorted({len(row.seeds) for row in weak})
        few = listed([*map(str, pairs[:-1]), counted(pairs[-1], "pair")], 8, " or ")
        least, needed = min(row.reachable for row in weak), needed_pairs(len(rows), level)
        notes.append(
            f"underpowered: with {few} no outcome gives a sign-flip p (times {counted(len(rows), 'row')}) "
            f"below {least:.4g}; to get below {level:g} "
            + (f"takes {needed} pairs in every row." if needed else f"is not possible with {RESAMPLES:,} random signs.")
        )
    for row in rows:
        if row.unpaired:
            seeds = listed([*map(str, row.unpaired)], 8)
            left = f"{counted(len(row.unpaired), 'run')} without a partner left out of the difference (seed {seeds})"
            notes.append(f"{row.arm}: {left}.")
        if row.t_p is None:
            why = "one pair" if len(row.seeds) == 1 else "all differences are equal"
            notes.append(f"{row.arm}: {why}, so there is no t test and no interval.")
    return notes
