"""One self-contained HTML page of a study: numbers, curves, pictures, configurations, cost.

python -m experiments.page runs/sweep/NAME --out page.html --title "Co-Bias" --question "Does Co-Bias help?"
"""

import argparse
import base64
import hashlib
import re
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from experiments.formats import csv_text, tables
from experiments.page import plots
from experiments.page.contents import charts, commands, examples, strips
from experiments.page.pictures import Figure, figures
from experiments.page.tables import common, cost, differing, every_run, origin
from experiments.page.words import answer, verdict
from experiments.study import Study
from experiments.table import add_study, chosen_study, write_whole
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from dotcom.errors import one_line_errors

HERE = Path(__file__).parent
FIGURES = 250_000  # bytes of all figures together


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the page."""
    options = parser().parse_args(arguments)
    study = chosen_study(options)
    title = options.title or f"{study.metric} by {', '.join(study.reference.values) or 'seed'}"
    page = render(study, options.runs, title, options.question, figures(options.figures, FIGURES))
    write_whole(options.out, page)
    print(f"{options.out}: {len(page.encode()) / 1000:,.0f} kB")


def render(study: Study, paths: Sequence[Path], title: str, question: str, shown: Sequence[Figure]) -> str:
    """The page, as HTML.

    Args:
        study: What it is about.
        paths: Where the study was read from.
        title: Of the page.
        question: That the study answers; may be empty.
        shown: Figures that go with it.
    """
    script = (HERE / "page.js").read_text()
    curves = charts(study)
    numbers, *comparisons = tables(study)
    template = environment().get_template("page.html")
    return template.render(
        title=title,
        question=question,
        study=study,
        answer=answer(study),
        verdicts=[verdict(row, study) for row in study.comparisons],
        arm_table=numbers,
        comparison_tables=comparisons,
        csv=csv_text(study),
        strips=strips(study),
        charts=curves,
        figures=shown,
        examples=examples(study.arms),
        differing=differing(study),
        common=common(study),
        cost=cost(study.arms),
        runs=every_run(study),
        origin=origin(study.arms),
        commands=commands(paths, study.arms),
        data={"arms": [arm.name for arm in study.arms], "charts": [hovered(drawn.plot) for drawn in curves]},
        script=Markup(script),  # ours, and the only one that the page lets run
        script_hash=hash_source(script),
    )


def environment() -> Environment:
    """Where the templates are found; everything that they are given is escaped."""
    made = Environment(
        loader=FileSystemLoader(HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    made.globals |= {
        name: getattr(plots, name) for name in ("WIDTH", "HEIGHT", "LEFT", "RIGHT", "TOP", "BOTTOM", "short")
    }
    made.filters |= {"minus": minus, "breakable": breakable}
    return made


def hovered(chart: plots.Chart) -> dict[str, object]:
    """What the script needs of a chart to show values under the pointer."""
    x, y = chart.x, chart.y
    curves = [asdict(curve) for curve in chart.curves]
    return {"x": [x.low, x.high, x.start, x.end], "y": [y.start, y.end], "curves": curves}


def hash_source(script: str) -> str:
    """The name by which a content security policy allows this script and no other."""
    return f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"


def minus(text: str) -> str:
    """Signs of numbers as minus; hyphens stay."""
    return re.sub(r"(?<![\w.])-(?=\d)", "\N{MINUS SIGN}", text)


def breakable(text: str) -> Markup:
    """A name that may go on in the next line after ``=`` and ``.``."""
    return Markup(re.sub("([=.])", r"\1<wbr>", str(escape(text))))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    command = argparse.ArgumentParser("python -m experiments.page", description="One HTML page of a study.")
    add_study(command)
    command.add_argument("--out", type=Path, required=True, metavar="FILE", help="the page, as page.html")
    command.add_argument("--title", default="", help="default: the metric and what was swept")
    command.add_argument("--question", default="", help="that the study answers")
    command.add_argument(
        "--figures", nargs="+", type=Path, default=[], metavar="PATH", help="PNG, SVG, CSV files or folders with some"
    )
    return command


if __name__ == "__main__":
    with one_line_errors():
        main()
