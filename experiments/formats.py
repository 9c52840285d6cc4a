"""A study as Markdown, LaTeX and CSV. People read points of percent; the CSV carries every digit, shares in [0, 1]."""

import csv
import io
import re
from collections.abc import Callable
from statistics import fmean, stdev

from experiments.arms import Arm
from experiments.statistics import Comparison
from experiments.study import Study

from dotcom.text import csv_cell, markdown_cell, visible

Rows = list[list[str]]  # the first is the header
ABSENT = "–"  # noqa: RUF001
LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    ABSENT: "--",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def markdown(study: Study) -> str:
    """Two tables and the notes."""

    def table(rows: Rows) -> str:
        cells = [[markdown_cell(name), *(cell.replace("|", r"\|") for cell in row)] for name, *row in rows]
        rule = ["---", *["---:"] * (len(rows[0]) - 1)]
        return "".join(f"| {' | '.join(row)} |\n" for row in [cells[0], rule, *cells[1:]])

    return "\n".join([*map(table, tables(study)), "".join(f"- {visible(note)}\n" for note in study.notes)])


def latex(study: Study) -> str:
    """Two tabulars and the notes, for booktabs."""

    def table(rows: Rows) -> str:
        header, *body = [" & ".join(map(latex_cell, row)) + r" \\" for row in rows]
        columns = "l" + "r" * (len(rows[0]) - 1)
        lines = [rf"\begin{{tabular}}{{{columns}}}", r"\toprule", header, r"\midrule", *body, r"\bottomrule"]
        return "\n".join([*lines, r"\end{tabular}"])

    notes = [rf"{{\footnotesize {latex_text(note)}\par}}" for note in study.notes]
    separator = "\n\n\\medskip\n"
    return "% \\usepackage{booktabs}\n" + separator.join([*map(table, tables(study)), "\n".join(notes)]) + "\n"


def latex_cell(cell: str) -> str:
    """A number with a sign or bracket in mathematics, so that minus is a minus; all else escaped."""
    return f"${cell}$" if re.fullmatch(r"[-+<\[][-+\d., \]]+", cell) else latex_text(cell)


def latex_text(text: str) -> str:
    """Without characters that mean something to LaTeX."""
    return "".join(LATEX.get(character, character) for character in visible(text))


def csv_text(study: Study) -> str:
    """One row per arm; the columns from ``pairs`` on are empty for the reference."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    rows = {row.arm: row for row in study.comparisons}
    records = [arm_record(study, arm) | comparison_record(rows.get(arm.name)) for arm in study.arms]
    writer.writerow(records[0])
    writer.writerows(["" if value is None else csv_cell(value) for value in record.values()] for record in records)
    return file.getvalue()


FORMATS: dict[str, Callable[[Study], str]] = {"markdown": markdown, "csv": csv_text, "latex": latex}


def arm_record(study: Study, arm: Arm) -> dict[str, object]:
    """What is known of one arm by itself."""
    values = list(arm.scores(study.metric, study.at).values())
    return {
        "arm": arm.name,
        "metric": study.metric,
        "at": study.at,
        "n": len(values),
        "mean": fmean(values),
        "standard_deviation": stdev(values) if len(values) > 1 else None,
        "parameters": arm.parameters,
        "macs": arm.macs,
        "minutes": arm.minutes,
        "reference": study.reference.name,
    }


def comparison_record(row: Comparison | None) -> dict[str, object]:
    """Its comparison with the reference; all None for the reference itself."""
    columns: dict[str, Callable[[Comparison], object]] = {
        "pairs": lambda row: len(row.seeds),
        "unpaired": lambda row: len(row.unpaired),
        "difference": lambda row: row.difference,
        "low": lambda row: row.low,
        "high": lambda row: row.high,
        "t_p": lambda row: row.t_p,
        "t_holm": lambda row: row.t_holm,
        "sign_flip_p": lambda row: row.sign_flip_p,
        "sign_flip_holm": lambda row: row.sign_flip_holm,
        "exact": lambda row: row.exact,
        "reachable": lambda row: row.reachable,
        "underpowered": lambda row: row.underpowered,
    }
    return {name: None if row is None else value(row) for name, value in columns.items()}


def tables(study: Study) -> list[Rows]:
    """The arms, and, if there are several, their comparisons; as text."""
    unit, points = (" (%)", " (points)") if study.percent else ("", "")
    arms = [["arm", "n", f"{study.metric}{unit}", f"standard deviation{points}", "parameters", "MACs (M)", "minutes"]]
    for arm in study.arms:
        values = list(arm.scores(study.metric, study.at).values())
        spread = number(study, stdev(values)) if len(values) > 1 else ABSENT
        cost = [f"{arm.parameters:,}", f"{arm.macs / 1e6:.1f}", f"{arm.minutes:.1f}"]
        arms.append([arm.name, str(len(values)), number(study, fmean(values)), spread, *cost])
    rows = [comparison_cells(study, row) for row in study.comparisons]
    header = ["arm", "pairs", f"difference{points}", f"{study.confidence} interval"]
    return [arms, [[*header, "t p", "t p, Holm", "sign-flip p", "sign-flip p, Holm", ""], *rows]] if rows else [arms]


def comparison_cells(study: Study, row: Comparison) -> list[str]:
    """One row of the second table."""
    ends = [] if row.low is None or row.high is None else [number(study, end) for end in (row.low, row.high)]
    return [
        f"{row.arm} - {row.reference}",
        str(len(row.seeds)),
        number(study, row.difference, "+"),
        f"[{', '.join(ends)}]" if ends else ABSENT,
        *map(probability, (row.t_p, row.t_holm, row.sign_flip_p, row.sign_flip_holm)),
        "underpowered" if row.underpowered else "",
    ]


def number(study: Study, value: float, sign: str = "") -> str:
    """In percent or points with two places, else with four."""
    return f"{100 * value:{sign}.2f}" if study.percent else f"{value:{sign}.4f}"


def probability(p: float | None) -> str:
    """With four places."""
    return ABSENT if p is None else "<0.0001" if p < 0.0001 else f"{p:.4f}"
