"""Check every number of the original's README against what can be counted here.

python -m experiments.claims             # count, compare with claims.csv, write the README of this folder
python -m experiments.claims --record    # take today's outcomes over into claims.csv first
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from experiments.claims import ledger, report
from experiments.table import write_whole

from dotcom.errors import counted, one_line_errors
from dotcom.text import make_console

HERE = Path(__file__).parent


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns 1 if a recorded outcome no longer follows."""
    options = parser().parse_args(arguments)
    claims = ledger.read(options.ledger)
    from experiments.claims.verdicts import outcomes  # torch and timm take seconds to load; --help should not

    found = outcomes(claims)
    wrong = ledger.disagreements(claims, found)
    if options.record:
        claims = ledger.updated(claims, found)
        ledger.write(options.ledger, claims)
    make_console().print(report.terminal(claims))
    for line in wrong:
        print(("recorded anew: " if options.record else "error: ") + line, file=sys.stderr)
    if wrong and not options.record:
        print(f"{counted(len(wrong), 'outcome')} no longer follow; --record takes them over", file=sys.stderr)
        return 1
    write_whole(options.out, report.markdown(claims))
    return 0


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser("python -m experiments.claims", description="The numbers of the README, checked.")
    command.add_argument("--ledger", type=Path, default=HERE / "claims.csv", metavar="FILE", help="default: claims.csv")
    command.add_argument("--out", type=Path, default=HERE / "README.md", metavar="FILE", help="default: README.md")
    command.add_argument("--record", action="store_true", help="take today's outcomes over into the ledger")
    return command


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
