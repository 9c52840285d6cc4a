"""``python -m experiments.table``: three formats with the same numbers, worked out here by hand."""

import csv
import io
import json
import re
import subprocess
import sys
from itertools import product
from statistics import fmean, stdev

import pytest
from experiments.formats import latex_text
from experiments.table import main
from scipy import stats

from conftest import REPO
from dotcom.errors import UsageError
from run_folders import change, job, write_jobs, write_run, write_sweep

TRUE = [0.842, 0.831, 0.838, 0.850, 0.829, 0.836]
FALSE = [0.827, 0.833, 0.829, 0.831, 0.825, 0.830]
SWEPT = {"co_bias": ["true", "false"], "seed": [str(seed) for seed in range(6)]}


@pytest.fixture
def sweep(tmp_path):
    values = {"true": TRUE, "false": FALSE}
    top1 = {(arm, seed): values[arm][int(seed)] for arm in SWEPT["co_bias"] for seed in SWEPT["seed"]}
    return write_sweep(tmp_path / "sweep", SWEPT, top1)


@pytest.fixture
def table(capsys):
    """Calls the program; its output and what it said besides."""

    def run(*arguments) -> tuple[str, str]:
        main([str(argument) for argument in arguments])
        return capsys.readouterr()

    return run


def parsed(text: str, style: str) -> list[list[str]]:
    """The cells of both tables, without headings."""
    if style == "markdown":
        lines = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
        rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    else:
        lines = [line.removesuffix(r" \\") for line in text.splitlines() if line.endswith(r"\\")]
        rows = [[cell.strip().strip("$").replace("\\", "") for cell in line.split(" & ")] for line in lines]
    return [row for row in rows if row[0] != "arm"]


def numbers(cell: str) -> list[float]:
    return [float(number) for number in re.findall(r"[-+]?[\d.]+", cell.replace("1,349,162", "1349162"))]


@pytest.mark.parametrize("at", ["last", "best"])
def test_ema__is_compared_by_the_network_that_each_run_uses(at, tmp_path, table):
    swept = {"ema": ["null", "0.9"], "seed": ["0", "1"]}
    folder = write_sweep(tmp_path / "sweep", swept, dict.fromkeys(product(*swept.values()), 0.5))
    for run in folder.glob("ema-0.9__*"):  # what its average does is the same, by another name
        facts = json.loads((run / "run.json").read_text())
        facts["monitor"] = facts["config"]["monitor"] = "val_ema/top1"
        facts["scores"] = {"val/top1": 0.1, "val_ema/top1": 0.75}
        (run / "run.json").write_text(json.dumps(facts))
        rows = (run / "metrics.csv").read_text().replace("val/top1", "val_ema/top1").replace(",0.5\n", ",0.75\n")
        (run / "metrics.csv").write_text(rows.replace(",0.5\r\n", ",0.75\r\n"))
    text, _ = table(folder, "--at", at, "--format", "csv")
    means = [(row["arm"], row["metric"], float(row["mean"])) for row in csv.DictReader(io.StringIO(text))]
    assert means == [("ema=null", "used/top1", 0.9 if at == "best" else 0.5), ("ema=0.9", "used/top1", 0.75)]
    said, _ = table(folder, "--at", at)
    assert "used/top1, of the network that is used: of the moving average where a run has one," in said


def test_csv__carries_all_digits(sweep, table):
    text, _ = table(sweep, "--format", "csv")
    true, false = csv.DictReader(io.StringIO(text))
    assert (true["arm"], false["arm"], true["reference"]) == ("co_bias=true", "co_bias=false", "co_bias=false")
    assert (float(true["mean"]), float(true["standard_deviation"])) == (fmean(TRUE), stdev(TRUE))
    assert (true["n"], true["parameters"], true["macs"], true["minutes"]) == ("6", "1349162", "27100000", "6.0")
    t = stats.ttest_rel(TRUE, FALSE)
    interval = t.confidence_interval()
    found = [float(true[name]) for name in ("t_p", "low", "high", "difference", "sign_flip_p", "reachable")]
    # Of 64 ways to give signs to 15, -2, 9, 19, 4, 6 thousandths: the observed one and with +2, and their opposites
    assert found == pytest.approx([t.pvalue, interval.low, interval.high, 0.0085, 4 / 64, 2 / 64], abs=1e-9)
    assert (true["pairs"], true["exact"], true["underpowered"], false["pairs"]) == ("6", "True", "False", "")


@pytest.mark.parametrize("style", ["markdown", "latex"])
@pytest.mark.parametrize(("metric", "scale", "half"), [("val/top1", 100, 0.0051), ("val/loss", 1, 0.000051)])
def test_formats__have_the_numbers_of_the_csv(sweep, table, style, metric, scale, half):
    true, false = csv.DictReader(io.StringIO(table(sweep, "--format", "csv", "--metric", metric)[0]))
    *arms, difference = parsed(table(sweep, "--format", style, "--metric", metric)[0], style)
    for row, arm in zip(arms, (true, false), strict=True):
        assert row[0] == arm["arm"]
        assert numbers(row[1]) + numbers(row[4]) == [float(arm["n"]), float(arm["parameters"])]
        for cell, name in ((2, "mean"), (3, "standard_deviation")):
            assert numbers(row[cell]) == [pytest.approx(scale * float(arm[name]), abs=half)]
        assert numbers(row[5]) == [pytest.approx(float(arm["macs"]) / 1e6, abs=0.051)]
        assert numbers(row[6]) == [pytest.approx(float(arm["minutes"]), abs=0.051)]
    assert difference[0] == "co_bias=true - co_bias=false"
    assert numbers(difference[2]) == [pytest.approx(scale * float(true["difference"]), abs=half)]
    assert numbers(difference[3]) == pytest.approx([scale * float(true[end]) for end in ("low", "high")], abs=half)
    for cell, name in enumerate(("t_p", "t_holm", "sign_flip_p", "sign_flip_holm"), start=4):
        assert numbers(difference[cell]) == [pytest.approx(float(true[name]), abs=0.000051)]


def test_best__is_another_number_and_said_to_favour_noise(sweep, table):
    text, _ = table(sweep, "--at", "best")
    assert [row[2] for row in parsed(text, "markdown")[:2]] == ["90.00", "90.00"]
    assert "chosen on the same validation images, which favours noise" in text
    assert "after the last epoch" in table(sweep)[0]


def test_underpowered__is_flagged_with_the_pairs_it_takes(sweep, table):
    text, _ = table(sweep)
    assert parsed(text, "markdown")[-1][-1] == ""
    text, _ = table(*(sweep / f"co_bias-{arm}__seed-{seed}" for arm in ("true", "false") for seed in range(5)))
    assert parsed(text, "markdown")[-1][-1] == "underpowered"
    assert "with 5 pairs no outcome gives a sign-flip p (times 1 row) below 0.0625" in text
    assert parsed(table(sweep, "--level", "0.01")[0], "markdown")[-1][-1] == "underpowered"


def test_level__sets_the_interval(sweep, table):
    text, _ = table(sweep, "--level", "0.1")
    interval = stats.ttest_rel(TRUE, FALSE).confidence_interval(0.9)
    assert "90 % interval" in text
    assert numbers(parsed(text, "markdown")[-1][3]) == pytest.approx([100 * end for end in interval], abs=0.0051)


def test_reference__turns_the_difference_round(sweep, table):
    assert parsed(table(sweep, "--reference", "true")[0], "markdown")[-1][:3] == [
        "co_bias=false - co_bias=true",
        "6",
        "-0.85",
    ]
    assert "$-0.85$" in table(sweep, "--reference", "true", "--format", "latex")[0]


def test_notes__say_what_was_left_out(sweep, table):
    jobs = {
        f"co_bias-{arm}__seed-{seed}": job(
            [f"co_bias={arm}", f"seed={seed}"], "failed" if (arm, seed) == ("true", "5") else "done"
        )
        for arm in SWEPT["co_bias"]
        for seed in SWEPT["seed"]
    }
    write_jobs(sweep, SWEPT, jobs)
    text, said = table(sweep, "--format", "csv")
    true, false = csv.DictReader(io.StringIO(text))
    assert (true["n"], false["n"], true["pairs"], true["unpaired"]) == ("5", "6", "5", "1")
    assert "1 of 12 jobs are not done, left out: co_bias-true__seed-5 (failed)" in said
    assert "co_bias=true: 1 run without a partner left out of the difference (seed 5)." in said


def test_one_arm__has_no_comparison(tmp_path, table):
    runs = [write_run(tmp_path / str(seed), [f"seed={seed}"], [value]) for seed, value in enumerate(TRUE)]
    assert parsed(table(*runs)[0], "markdown") == [["all", "6", "83.77", "0.77", "1,349,162", "27.1", "6.0"]]


def test_one_seed__has_no_spread(tmp_path, table):
    runs = [write_run(tmp_path / arm, [f"co_bias={arm}", "seed=0"], [0.8]) for arm in ("false", "true")]
    text, _ = table(*runs)
    assert parsed(text, "markdown")[0][3] == "–"  # noqa: RUF001
    assert "co_bias=true: one pair, so there is no t test and no interval." in text


def test_no_common_seed__is_an_error(tmp_path):
    runs = [write_run(tmp_path / arm, [f"co_bias={arm}", f"seed={len(arm)}"], [0.8]) for arm in ("false", "true")]
    with pytest.raises(UsageError, match=r"co_bias=true \(seeds 4\) and co_bias=false \(seeds 5\): no seed in common"):
        main([str(run) for run in runs])


def test_latex__is_escaped_and_balanced(sweep, table):
    text, _ = table(sweep, "--format", "latex")
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == text.count(r"\toprule") == 2
    assert r"co\_bias=true" in text
    assert r"95 \% interval" in text
    assert latex_text("a_b & 5 % <~^\\ {}") == (
        r"a\_b \& 5 \% \textless{}\textasciitilde{}\textasciicircum{}\textbackslash{} \{\}"
    )


def test_out__is_written_whole(sweep, table, tmp_path):
    text, _ = table(sweep, "--format", "csv")
    table(sweep, "--format", "csv", "--out", tmp_path / "table.csv")
    assert (tmp_path / "table.csv").read_text() == text
    assert {path.name for path in tmp_path.iterdir()} == {"sweep", "table.csv"}
    with pytest.raises(UsageError, match="it is a folder"):
        main([str(sweep), "--out", str(sweep)])
    with pytest.raises(UsageError, match="there is no folder"):
        main([str(sweep), "--out", str(tmp_path / "nowhere/table.csv")])


def program(*arguments) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "experiments.table", *map(str, arguments)]
    return subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)


def test_program__answers_mistakes_in_one_line(sweep):
    done = program(sweep, "--metric", "val/top")
    assert (done.returncode, done.stdout) == (2, "")
    assert re.fullmatch(r"error: .*no metric val/top; expected .*; did you mean val/top1\?\n", done.stderr)


def test_program__refuses_with_the_list(sweep):
    change(sweep / "co_bias-false__seed-1", clip=9)
    done = program(sweep)
    assert (done.returncode, done.stdout) == (2, "")
    assert "clip: null in 11 runs; 9 in co_bias-false__seed-1" in done.stderr
    assert "Traceback" not in done.stderr
    assert "allowed to differ: clip" in program(sweep, "--allow", "clip").stdout
