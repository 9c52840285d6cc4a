"""What the plots of a page are made of: means and ranges over seeds, axes, colours; and a page with little on it."""

import csv
import json
import re
from pathlib import Path

import pytest
from experiments.page.__main__ import main
from experiments.page.plots import POINTS, Row, chart, curve, scale, strip

from studies import write_study

CSS = Path(__file__).parents[2] / "experiments" / "page" / "page.css"
MINUS = "\N{MINUS SIGN}"


def test_curve__is_the_mean_between_the_lowest_and_highest_seed():
    drawn = curve(1, [{10: 1.0, 20: 2.0}, {10: 3.0, 20: 2.5}, {10: 2.0, 20: 6.0}])
    assert (drawn.arm, drawn.runs, drawn.steps) == (1, 3, [10, 20])
    assert (drawn.mean, drawn.low, drawn.high) == ([2.0, 3.5], [1.0, 2.0], [3.0, 6.0])


def test_curve__has_only_steps_of_all_runs():
    assert curve(0, [{10: 1.0, 20: 2.0, 30: 3.0}, {10: 3.0, 20: 2.5}]).steps == [10, 20]
    assert curve(0, [{10: 1.0}, {11: 1.0}]) is None
    assert curve(0, []) is None


def test_curve__of_many_steps_is_thinned_but_keeps_its_ends():
    drawn = curve(0, [{step: float(step) for step in range(10_000)}])
    assert len(drawn.steps) == len(set(drawn.steps)) == POINTS
    assert (drawn.steps[0], drawn.steps[-1]) == (0, 9999)


def test_chart__puts_values_where_its_axes_say():
    drawn = chart("val/loss", {0: [{100: 0.5, 200: 1.5}], 1: [{100: 1.0, 200: 1.0}]})
    assert drawn.line(drawn.curves[0]) == f"M{drawn.x(100):g} {drawn.y(0.5):g}L{drawn.x(200):g} {drawn.y(1.5):g}"
    assert (drawn.x.low, drawn.x.high) == (100, 200)
    assert drawn.y(1.5) < drawn.y(0.5)  # up is more
    assert drawn.y.low < 0.5 < 1.5 < drawn.y.high
    assert chart("val/loss", {0: []}) is chart("val/loss", {0: [{2: 1.0}]}) is None  # one epoch: a dot
    assert scale([2, 2], 0, 100, whole=True).ticks == (1, 2, 3)


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        ([0.0, 1.0], ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        ([-1.0, 0.0], [f"{MINUS}1.0", f"{MINUS}0.8", f"{MINUS}0.6", f"{MINUS}0.4", f"{MINUS}0.2", "0.0"]),
        ([0.0, 1500.0], ["0", "500", "1000", "1500"]),
        ([0.0, 1.3], ["0.00", "0.25", "0.50", "0.75", "1.00", "1.25"]),
        ([0.0, 0.001], ["0.0000", "0.0002", "0.0004", "0.0006", "0.0008", "0.0010"]),
    ],
)
def test_scale__labels_its_ticks(values, labels):
    axis = scale(values, 0, 100)
    assert [axis.label(tick) for tick in axis.ticks] == labels


@pytest.mark.parametrize("value", [0.0, 0.83, -4.0, 1e6])
def test_scale__shows_equal_values_in_the_middle(value):
    assert scale([value, value], 0, 100)(value) == 50


def test_strip__shows_points_middle_interval_and_zero():
    rows = [Row("a", 0, {0: 1.0, 1: 2.0}, 1.5, (0.5, 9.0)), Row("b", 1, {1: 3.0}, 3.0)]
    drawn = strip("difference", rows, zero=True)
    assert drawn.x.low < 0 < 9 < drawn.x.high
    assert drawn.seeds == [0, 1]
    assert drawn.offset(0) != drawn.offset(1)
    assert drawn.y(0) < drawn.y(1) < drawn.height


def test_page__of_a_single_run_that_left_little(tmp_path: Path):
    """One arm, one seed, one validation, a loss that was not finite, no picture."""
    study = write_study(tmp_path / "study", gain={"true": 0.0}, seeds=[3])
    (run,) = study.glob("co_bias-*")
    (run / "predictions.png").unlink()
    with (run / "metrics.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["epoch", "step", "train/loss", "val/top1"], [7, 5, "inf", ""], [7, 5, "", 0.25]])
    told = json.loads((run / "run.json").read_text()) | {"images_per_second": None, "commit": None, "ended": None}
    (run / "run.json").write_text(json.dumps(told))
    out = tmp_path / "page.html"
    main([str(run), "--out", str(out)])
    page = out.read_text()
    assert "nothing to compare" in page
    assert "python train.py co_bias=true seed=3" in page
    assert "not recorded" in page
    assert page.count("data-chart=") == 0  # a single step is no curve
    assert "Predictions" not in page


@pytest.mark.parametrize("scheme", [0, 1])
def test_colours__contrast_with_what_is_behind_them(scheme):
    named = dict(re.findall(r"--([\w-]+): (#\w{6})", CSS.read_text().split("@media screen")[scheme]))
    for name, least in {"ink": 7, "soft": 4.5, "link": 4.5, "warn": 4.5}.items():
        assert all(contrast(named[name], named[ground]) >= least for ground in ("card", "page", "tint")), name
    assert all(contrast(named[f"arm-{i}"], named["card"]) >= 3 for i in range(8))


def contrast(one: str, other: str) -> float:
    """Of two colours, from 1 to 21, as WCAG 2 defines it."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return sum(weight * part for weight, part in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
