"""User text stands literally wherever it is shown: no markup, no formula, no mathematics, no control codes."""

import ast
import csv
import io
import json

import numpy as np
import pytest
import torch
from experiments.formats import latex_text, markdown
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from conftest import REPO
from dotcom.callbacks.overlays import BoxGrid, MaskGrid
from dotcom.callbacks.pictures import PredictionGrid
from dotcom.errors import UsageError, one_line_errors
from dotcom.inference.drawing import draw
from dotcom.inference.results import Box, Boxes, Classes, Guess, Mask, Share
from dotcom.record import read_json, to_json, write_json
from dotcom.report import class_table, write_classes
from dotcom.text import csv_cell, make_console, markdown_cell, say, visible

NASTY = [
    *("[/bold] x", "[unk]", "dog [small]", ":smile:", "$x$", "a $ b $ c", r"$\frac{1}$", "_hidden", "^_{", "100 %"),
    *("=1+1", "+x", "-x", "@x", "a|b", "<b>", "</script>", "`ls`", "*bold*", "\x1b[31mred", "bell\a", "two\nlines"),
    *("tab\tulator", "back\b", "\u202eevil", "zero\u200bwidth", "\udcff", "", " ", "&amp;", "#1", "~", "\\", "x" * 300),
]


def test_control_characters__are_shown_as_escapes_and_all_else_as_it_is():
    assert visible("Straße, 日本語, 👨‍👩‍👧, naïve") == "Straße, 日本語, 👨‍👩‍👧, naïve"
    assert visible("\x1b[31mred\a") == r"\x1b[31mred\x07"
    assert visible("a\nb\tc\r") == r"a\nb\tc\r"
    assert visible("\u202eevil\u2066\ufeff") == r"\u202eevil\u2066\ufeff"
    assert visible("\udcff.jpg") == r"\udcff.jpg"  # a byte of a file name that is no text
    for name in NASTY:
        assert visible(name).isprintable(), name
        visible(name).encode()


def test_line__of_an_error_holds_no_control_characters(capsys):
    with pytest.raises(SystemExit), one_line_errors():
        raise UsageError("data.root=x: \x1b]0;owned\a class \u202eevil is unknown\nerror: a second line")
    said = capsys.readouterr().err
    assert said == "error: data.root=x: \\x1b]0;owned\\x07 class \\u202eevil is unknown\\nerror: a second line\n"
    say("a\tb\x1b")
    assert capsys.readouterr().out == "a\tb\\x1b\n"


def test_tables__show_names_as_they_are():
    file = io.StringIO()
    make_console(file=file, width=1000).print(class_table({name: {"IoU": 0.5} for name in NASTY}))
    lines = file.getvalue().splitlines()
    for name in NASTY:
        assert any(visible(name) in line for line in lines), name
    assert "\x1b" not in file.getvalue()


def test_csv__guards_formulas_and_keeps_numbers(tmp_path):
    write_classes(tmp_path / "per_class.csv", {name: {"IoU": -0.5} for name in NASTY})
    with (tmp_path / "per_class.csv").open(newline="") as content:
        rows = list(csv.reader(content))[1:]
    assert [row[1] for row in rows] == ["-0.5"] * len(NASTY)
    for (cell, _), name in zip(rows, NASTY, strict=True):
        assert cell == (f"'{name}" if name[:1] in ("=", "+", "-", "@") and name else visible(name))
    assert [csv_cell(value) for value in (-1, -0.5, "\t=1", "-0.5", None)] == [-1, -0.5, r"\t=1", "'-0.5", None]


def test_markdown_and_latex__escape_what_means_something():
    assert markdown_cell("a|b <i> `x` *y* \x1b") == r"a\|b &lt;i&gt; \`x\` \*y\* \\x1b"
    assert markdown_cell("co_bias=true") == "co_bias=true"  # underscores within words mean nothing
    assert latex_text("50 % & $x$ \x1b") == r"50 \% \& \$x\$ \textbackslash{}x1b"
    assert callable(markdown)


IMAGE = torch.rand(3, 40, 40)


def drawn(figure) -> list[str]:
    """All texts of a figure, after it was drawn."""
    FigureCanvasAgg(figure).draw()
    import matplotlib.text

    return [text.get_text() for text in figure.findobj(matplotlib.text.Text)]


@pytest.mark.filterwarnings("ignore:Glyph")
@pytest.mark.filterwarnings("ignore:.*constrained_layout not applied")
def test_figures__draw_every_name_literally(tmp_path):
    count = len(NASTY)
    for label in range(count):
        grid = PredictionGrid(str(tmp_path))
        grid.seen = [(IMAGE, torch.tensor((label + 1) % count), torch.eye(count)[label] * 9)]
        assert any(visible(NASTY[label]) in text for text in drawn(grid.draw(NASTY)))
    boxes = torch.tensor([[4.0, 4.0, 20.0, 20.0]])
    for start in range(0, count, 6):
        labels = torch.arange(start, min(start + 6, count))
        some = {"labels": labels, "boxes": boxes.repeat(len(labels), 1), "original": boxes.repeat(len(labels), 1)}
        grid = BoxGrid(str(tmp_path))
        grid.seen = [(IMAGE, some | {"size": (40, 40)}, some | {"scores": torch.full((len(labels),), 0.9)})]
        shown = drawn(grid.draw(NASTY))
        for label in labels.tolist():
            assert visible(NASTY[label]) in shown
            assert f"{visible(NASTY[label])} 90%" in shown
        grid = MaskGrid(str(tmp_path))
        mask = labels.to(torch.uint8).repeat_interleave(40)[: 40 * len(labels)].reshape(-1, 40)
        mask = torch.nn.functional.pad(mask, (0, 0, 0, 40 - len(mask)), value=255)
        grid.seen = [(IMAGE, mask, mask)]
        assert {visible(NASTY[label]) for label in labels.tolist()} <= set(drawn(grid.draw(NASTY)))


def test_drawings__of_predictions_take_every_name():
    picture = Image.new("RGB", (60, 40))
    for label, name in enumerate(NASTY):
        results = [
            Classes((Guess(label, name, 0.9),)),
            Boxes((Box(label, name, 0.9, (2, 2, 30, 30)),)),
            Mask(np.full((40, 60), label, np.uint8), (Share(label, name, 1.0),)),
        ]
        for result in results:
            assert draw(picture, result, NASTY).width > 0


def test_json__is_always_valid(tmp_path):
    content = {"score": float("nan"), "scores": {"loss": float("inf"), "list": [1, float("-inf"), "NaN"]}, "n": 3}
    write_json(tmp_path / "run.json", content)

    def refuse(word):
        raise AssertionError(word)

    found = json.loads((tmp_path / "run.json").read_text(), parse_constant=refuse)
    assert found == {"score": None, "scores": {"loss": None, "list": [1, None, "NaN"]}, "n": 3}
    assert read_json(tmp_path / "run.json") == found
    assert to_json((1.5, float("nan"))) == "[1.5, null]"


def test_console__is_made_in_one_place():
    """Everywhere else rich would take a name for its own markup."""
    found = []
    for folder in ("src", "experiments"):
        for path in (REPO / folder).rglob("*.py"):
            names = [node.func.id for node in ast.walk(ast.parse(path.read_text())) if called(node)]
            found += [str(path.relative_to(REPO)) for name in names if name == "Console"]
    assert set(found) <= {"src/dotcom/text.py", "src/dotcom/bench/report.py", "src/dotcom/bench/watch.py"}


def called(node: ast.AST) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
