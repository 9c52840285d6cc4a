"""Which sections the bench has, and how their rows are gathered."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from importlib import import_module
from importlib.util import find_spec

from dotcom.bench.floors import verdicts
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.watch import Watch
from dotcom.errors import UsageError, did_you_mean

MODULES = {  # what to say on the command line, and the module here
    "infer": "infer",
    "export": "export",
    "train": "train",
    "data": "data",
    "eval": "evaluation",
    "gpu": "gpu",
}
SECTIONS = tuple(MODULES)

Section = Callable[[Effort, Watch], Iterator[Row]]


def chosen(asked: str | None) -> tuple[str, ...]:
    """The sections of ``--only``, in their own order; all if there is none.

    Raises:
        UsageError: If a name is not one of them.
    """
    names = SECTIONS if asked is None else [name.strip() for name in asked.split(",")]
    for name in names:
        if name not in SECTIONS:
            raise UsageError(f"--only={name}: expected some of {', '.join(SECTIONS)}{did_you_mean(name, SECTIONS)}")
    return tuple(name for name in SECTIONS if name in names)


def section(name: str) -> Section:
    """The function that yields the rows of a section."""
    module = f"dotcom.bench.{MODULES[name]}"
    if find_spec(module) is None:
        return lambda effort, watch: iter([skipped(name, "all", "this version has no such section")])
    found: Section = import_module(module).rows
    return found


def measured(names: Iterable[str], watch: Watch) -> Iterator[Row]:
    """Rows of sections, each marked as contended if the machine was busy while it was measured."""
    for name in names:
        watch.start()
        for row in section(name)(watch.effort, watch):
            yield replace(row, contended=watch.contended() and not row.skipped)


def unjudged(rows: Sequence[Row]) -> list[str]:
    """Sections with a floor that a busy machine kept from being judged."""
    names = {row.section for row in rows if any(verdict == "not judged" for _, verdict in verdicts(row))}
    return [name for name in SECTIONS if name in names]
