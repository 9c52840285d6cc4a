"""Every row of the README's table on the phone, in the runtimes of this machine: README.md, table.csv, latency.png.

    python -m experiments.latency
    python -m experiments.latency --runtimes onnx,openvino --rows dotcom_tiny,repvit_m1_0 --out PATH
    python -m experiments.latency --again 'dotcom_*'

Exported files and rounds are kept in runs/latency: a killed run goes on, and nothing is exported twice. --again writes
the files of some rows anew, after the code that exports them has changed; then all rows are measured again, in turns.
"""

import argparse
from collections.abc import Sequence
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING

from experiments.latency.rows import FOLDER, Entry, entries, phone

from dotcom.benchmark.targets import positive, runnable, runtimes
from dotcom.errors import UsageError, one_line_errors
from dotcom.record import whole

if TYPE_CHECKING:
    from dotcom.benchmark.measure import Session

WORK = Path("runs/latency")


def main(arguments: Sequence[str] | None = None) -> None:
    """Export what is missing, measure what is missing, write the page."""
    parser = argparse.ArgumentParser("python -m experiments.latency", description=str(__doc__).splitlines()[0])
    parser.add_argument("--runtimes", default="onnx,openvino,executorch,torch", help="default: %(default)s")
    parser.add_argument("--rows", default="", metavar="NAME[,NAME]", help="of rows.csv (default: all)")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each row (default: %(default)s)")
    parser.add_argument("--again", metavar="PATTERN[,PATTERN]", help="export rows anew: 'dotcom_*'")
    parser.add_argument("--out", type=Path, default=FOLDER, help="folder of the page (default: that of the experiment)")
    options = parser.parse_args(arguments)
    asked, rounds = runtimes(options.runtimes), positive("--rounds", options.rounds)
    rows = entries(tuple(filter(None, options.rows.split(","))))
    if not options.out.is_dir():
        raise UsageError(f"--out {options.out}: no such folder")
    measured_on_phone = phone(options.out / "phone.csv")
    _, usable, lacking = runnable([row.target for row in rows], asked)
    for line in lacking:
        print(line)
    if options.again:
        forget(options.again)
    sessions, failed = measure(rows, usable, rounds)
    if not sessions:
        raise UsageError("nothing could be measured")

    from experiments.latency.page import Study, as_csv, as_markdown
    from experiments.latency.picture import draw

    study = Study(rows, sessions, measured_on_phone, failed)
    for name, text in (("README.md", as_markdown(study)), ("table.csv", as_csv(study))):
        with whole(options.out / name) as temporary:
            temporary.write_text(text)
    draw(study, options.out / "latency.png")
    print(f"written to {options.out}: README.md, table.csv, latency.png")


def forget(patterns: str) -> None:
    """Remove the cards of some rows' files, so that they are written anew.

    Raises:
        UsageError: If a pattern fits no row.
    """
    for pattern in patterns.split(","):
        fitting = [row.key for row in entries() if fnmatch(row.key, pattern)]
        if not fitting:
            raise UsageError(f"--again {pattern}: fits no row of rows.csv")
        for key in fitting:
            for card in (WORK / "files").glob(f"{key}-*.json"):
                card.unlink()


def measure(rows: Sequence[Entry], usable: Sequence[str], rounds: int) -> tuple[dict[str, "Session"], dict[str, str]]:
    """All rows of one runtime in turns, then the next runtime: of the sessions, and of what failed the reasons."""
    from dotcom.benchmark.measure import session
    from dotcom.benchmark.rows import rows as exported

    sessions, failed = {}, {}
    for runtime in usable:
        files, unwritten = exported([row.target for row in rows], [runtime], None, WORK / "files", reuse=True)
        failed |= unwritten
        if files:
            folder = WORK / runtime
            folder.mkdir(parents=True, exist_ok=True)
            sessions[runtime] = session(files, 1, rounds, folder, resume=True, memory=False)
            failed |= sessions[runtime].failed
    return sessions, failed


if __name__ == "__main__":
    with one_line_errors():
        main()
