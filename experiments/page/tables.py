"""The tables of the page besides those of ``experiments.table``: configurations, cost, runs."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean

from experiments.arms import Arm
from experiments.differences import UNSET, settings
from experiments.study import Study

from dotcom.errors import spelled


@dataclass(frozen=True)
class Cell:
    """Text, with a bar of ``share`` percent where lengths help."""

    text: str
    share: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows of cells under the names of the columns; the first cell of a row is its name."""

    columns: list[str]
    rows: list[list[Cell]] = field(default_factory=list)


def plain(columns: list[str], rows: Sequence[Sequence[str]]) -> Table:
    """A table of text alone."""
    return Table(columns, [[Cell(text) for text in row] for row in rows])


def differing(study: Study) -> Table:
    """The settings that are not the same in all arms, by arm, without the seed; one row for all names of a setting."""
    tables = [[settings(run) for run in arm.runs] for arm in study.arms]
    names: dict[tuple[str, ...], list[str]] = {}
    for difference in study.differences:
        found = [dict.fromkeys(spelled(run.get(difference.key, UNSET)) for run in runs) for runs in tables]
        row = tuple(", ".join(values) for values in found)
        if len(set(row)) > 1:
            names.setdefault(row, []).append(difference.key)
    rows = [[", ".join(sorted(keys, key=len)), *row] for row, keys in names.items()]
    return plain(["setting", *(arm.name for arm in study.arms)], rows)


def common(study: Study) -> Table:
    """The settings that all runs share."""
    varying = {difference.key for difference in study.differences}
    shared = {key: value for key, value in settings(study.arms[0].runs[0]).items() if key not in varying}
    return plain(["setting", "value"], [[key, spelled(value)] for key, value in sorted(shared.items())])


def cost(arms: Sequence[Arm]) -> Table:
    """Parameters, MACs, minutes and images per second of each arm, with bars where arms differ visibly."""
    speeds = [[speed for run in arm.runs if (speed := run.images_per_second)] for arm in arms]
    columns: list[tuple[list[float], str]] = [
        ([arm.parameters for arm in arms], "{:,.0f}"),
        ([arm.macs / 1e6 for arm in arms], "{:,.1f} M"),
        ([arm.minutes for arm in arms], "{:.2f}"),
        ([fmean(known) if known else 0 for known in speeds], "{:,.0f}"),
    ]
    cells = [
        [Cell(form.format(value) if value else "not recorded", share(value, values)) for value in values]
        for values, form in columns
    ]
    rows = [[Cell(arm.name), *row] for arm, *row in zip(arms, *cells, strict=True)]
    return Table(["arm", "parameters", "MACs of one image", "minutes of training", "images/s"], rows)


def share(value: float, values: Sequence[float]) -> float | None:
    """The value in percent of the largest, unless all are nearly the same."""
    return 100 * value / max(values) if max(values) > 1.05 * min(values) else None


def every_run(study: Study) -> Table:
    """Each run with what it reached, so that the means can be worked out again."""
    rows = []
    for arm in study.arms:
        for run in arm.runs:
            value, started = repr(run.value(study.metric, study.at)), run.started or ""
            known = [f"{run.minutes:.2f}", run.commit or "unknown", started[:16].replace("T", " ")]
            rows.append([arm.name, str(run.seed), value, *known, run.folder.name])
    return plain(["arm", "seed", study.metric, "minutes", "commit", "started", "folder"], rows)


def origin(arms: Sequence[Arm]) -> dict[str, str]:
    """When and with what the runs were made."""
    runs = [run for arm in arms for run in arm.runs]
    days = sorted(time[:10] for run in runs for time in (run.started, run.ended) if time)
    versions = {name: sorted({run.versions.get(name, "unknown") for run in runs}) for name in runs[0].versions}
    return {
        "trained": " to ".join(dict.fromkeys([days[0], days[-1]])) if days else "unknown",
        "commit": ", ".join(sorted({run.commit or "unknown" for run in runs})),
        "versions": ", ".join(f"{name} {' and '.join(found)}" for name, found in versions.items()),
    }
