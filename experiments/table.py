"""Runs into a table with honest statistics; needs no account and no torch.

python -m experiments.table runs/sweep/NAME
python -m experiments.table RUN RUN ... --by co_bias --metric val/loss --format latex --out table.tex
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.errors import UsageError, one_line_errors
from dotcom.record import whole

if TYPE_CHECKING:
    from experiments.study import Study

REFERENCE = (
    "arm that the others are compared with, as co_bias=false or false (default: the control, that is the arm with "
    "every swept key switched off - false, null, none or 0 - where that was swept, and at its first value elsewhere)"
)
AT = (
    "value after the last epoch (default), or that of best.ckpt; the best epoch is chosen on the same validation "
    "images, which favours noise"
)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, or write it."""
    options = parser().parse_args(arguments)
    from experiments.formats import FORMATS  # SciPy takes a second to load; --help should not

    study = chosen_study(options)
    text = FORMATS[options.format](study)
    if options.format == "csv":  # has no place for them
        print(*study.notes, sep="\n", file=sys.stderr)
    if options.out is None:
        print(text, end="")
    else:
        write_whole(options.out, text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser("python -m experiments.table", description="A table with honest statistics.")
    add_study(command)
    command.add_argument("--format", choices=("markdown", "csv", "latex"), default="markdown", help="default: markdown")
    command.add_argument("--out", type=Path, metavar="FILE", help="write to a file")
    return command


def add_study(command: argparse.ArgumentParser) -> None:
    """The options that say what is compared with what."""
    command.add_argument("runs", nargs="+", type=Path, metavar="RUNS", help="folders of runs or sweeps")
    command.add_argument(
        "--metric",
        metavar="NAME",
        help="what to compare, as val/loss, or used/top1: of the moving average where a run has one "
        "(default: the runs' monitor)",
    )
    command.add_argument("--at", choices=("last", "best"), default="last", help=AT)
    command.add_argument("--reference", metavar="ARM", help=REFERENCE)
    command.add_argument("--by", type=keys, default=(), metavar="KEY[,KEY]", help="swept keys, if not as the runs say")
    command.add_argument(
        "--allow", type=keys, default=(), metavar="KEY[,KEY]", help="keys that may differ; * stands for anything"
    )
    command.add_argument("--level", type=level, default=0.05, help="of the tests (default: 0.05)")


def chosen_study(options: argparse.Namespace) -> "Study":
    """The study that the options of ``add_study`` ask for."""
    from experiments.study import read_study

    return read_study(
        options.runs, options.metric, options.at, options.by, options.reference, options.allow, options.level
    )


def keys(text: str) -> tuple[str, ...]:
    """``KEY,KEY`` apart."""
    return tuple(filter(None, text.split(",")))


def level(text: str) -> float:
    """A number between 0 and 1."""
    value = float(text)
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"expected a number between 0 and 1, got {text}")
    return value


def write_whole(path: Path, text: str) -> None:
    """Never leave half a file."""
    if not path.parent.is_dir():
        raise UsageError(f"--out {path}: there is no folder {path.parent}")
    if path.is_dir():
        raise UsageError(f"--out {path}: it is a folder; expected the name of a file")
    with whole(path) as temporary:
        temporary.write_text(text)


if __name__ == "__main__":
    with one_line_errors():
        main()
