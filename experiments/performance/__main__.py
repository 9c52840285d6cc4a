"""Write the table of the README here from what the bench measured.

python -m dotcom.bench --full --json experiments/performance/bench.json
python -m experiments.performance
"""

from pathlib import Path
from typing import Any

from dotcom.bench.peers import peers
from dotcom.bench.report import HEADINGS, cells
from dotcom.errors import UsageError, one_line_errors
from dotcom.record import read_json, whole

FOLDER = Path(__file__).parent
BEGIN, END = "<!-- measured -->", "<!-- end -->"


def table(content: dict[str, Any]) -> str:
    """The rows of a bench as Markdown, and the machine under them."""
    lines = [HEADINGS, ["---"] * len(HEADINGS), *(cells(row) for row in content["rows"])]
    beats, loads = content["canary_ms"], content["load"]
    state = "contended" if content["contended"] else "quiet"
    return "\n".join(
        [
            *(f"| {' | '.join(line)} |" for line in lines),
            "",
            f"Effort {content['effort']}, {content['started']} to {content['ended']}. Fixed work {min(beats):.1f} to "
            f"{max(beats):.1f} ms, load {min(loads):.1f} to {max(loads):.1f}: the machine was {state}. "
            + ", ".join(f"{name}: {value}" for name, value in content["machine"].items())
            + ".",
        ]
    )


def sentence(words: str) -> str:
    """With a capital and a full stop."""
    return f"{words[0].upper()}{words[1:]}."


def main() -> None:
    """Replace what stands between the marks in README.md."""
    content = read_json(FOLDER / "bench.json")
    if not content:
        raise UsageError(f"{FOLDER / 'bench.json'}: not there; python -m dotcom.bench --full --json writes it")
    path = FOLDER / "README.md"
    before, _, rest = path.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    with whole(path) as temporary:
        temporary.write_text(f"{before}{BEGIN}\n\n{sentence(peers())}\n\n{table(content)}\n\n{END}{after}")


if __name__ == "__main__":
    with one_line_errors():
        main()
