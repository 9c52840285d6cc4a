"""Runs grouped into the arms of an ablation, and which arm the others are compared with."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from experiments.records import Run

from dotcom.errors import UsageError, did_you_mean, dotted, listed

OFF = ("false", "null", "none", "0", "0.0")  # values that switch something off: the natural control


@dataclass(frozen=True)
class Arm:
    """The runs that differ in nothing but the seed, by seed.

    Args:
        values: Of each swept key, ``{"co_bias": "false"}``.
        runs: Ordered by seed; one per seed.
    """

    values: dict[str, str]
    runs: list[Run] = field(repr=False)

    @property
    def name(self) -> str:
        """As on the command line: ``co_bias=false block=qib``; ``all`` if nothing but the seed was swept."""
        return " ".join(f"{key}={value}" for key, value in self.values.items()) or "all"

    @property
    def parameters(self) -> int:
        """Of the network, which is the same in all runs."""
        return self.runs[0].parameters

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one image."""
        return self.runs[0].macs

    @property
    def minutes(self) -> float:
        """Of training, mean over the runs."""
        return fmean(run.minutes for run in self.runs)

    def scores(self, metric: str, at: str = "last") -> dict[int, float]:
        """The metric of each seed; see ``Run.value``."""
        return {run.seed: run.value(metric, at) for run in self.runs}


def swept_keys(runs: Sequence[Run]) -> list[str]:
    """What the runs say was swept, without the seed."""
    keys = [arm.split("=", 1)[0].lstrip("+") for run in runs for arm in run.arms]
    return [key for key in dict.fromkeys(keys) if key != "seed"]


def chosen_keys(runs: Sequence[Run], by: Sequence[str] = ()) -> list[str]:
    """The keys by which runs are grouped: ``by``, else what they say was swept; never the seed.

    Raises:
        UsageError: If no run has such a key.
    """
    keys = [key for key in by or swept_keys(runs) if key != "seed"]
    for key in keys:
        if all(run.setting(key) == "unset" for run in runs):
            near = did_you_mean(key, [*runs[0].choices, *dotted(runs[0].config)])
            raise UsageError(f"--by {key}: no run has such a setting{near}")
    return keys


def group(runs: Sequence[Run], by: Sequence[str] = ()) -> list[Arm]:
    """The arms, in the order in which their runs come; ``by`` names the keys where the runs do not.

    Raises:
        UsageError: If two runs are of one arm and seed, or no run has such a key.
    """
    keys = chosen_keys(runs, by)
    arms: dict[tuple[str, ...], dict[int, Run]] = {}
    for run in runs:
        seeds = arms.setdefault(tuple(map(run.setting, keys)), {})
        if (other := seeds.setdefault(run.seed, run)) is not run:
            name = Arm(dict(zip(keys, map(run.setting, keys), strict=True)), []).name
            raise UsageError(f"{other.folder} and {run.folder}: both are {name} seed={run.seed}; leave one out")
    return [
        Arm(dict(zip(keys, values, strict=True)), [seeds[seed] for seed in sorted(seeds)])
        for values, seeds in arms.items()
    ]


def reference(arms: Sequence[Arm], name: str | None = None) -> Arm:
    """The arm to compare with: the one of this name, else the control.

    The control has every swept key switched off (false, null, none, 0) where that was swept, else at the value that
    comes first.

    Args:
        arms: In order.
        name: As ``Arm.name``, or of one key only the value.

    Raises:
        UsageError: If no arm has this name.
    """
    if name is not None:
        names = {arm.name: arm for arm in arms} | {
            next(iter(arm.values.values())): arm for arm in arms if len(arm.values) == 1
        }
        if name not in names:
            expected = listed([arm.name for arm in arms], 20, " | ")
            raise UsageError(f"--reference {name}: expected {expected}{did_you_mean(name, names)}")
        return names[name]

    def distance(arm: Arm) -> int:
        return sum(value not in OFF and any(a.values[key] in OFF for a in arms) for key, value in arm.values.items())

    return min(arms, key=distance)
