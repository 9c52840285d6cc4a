"""Folders of runs and sweeps are read without torch, and what is wrong with one is said in one line."""

import json
import subprocess
import sys
from itertools import product

import pytest
from experiments.arms import group, reference
from experiments.records import left_out, load

from conftest import REPO
from dotcom.errors import UsageError
from run_folders import change, write_jobs, write_run, write_sweep

SWEPT = {"co_bias": ["true", "false", "first"], "seed": ["0", "1"]}


@pytest.fixture
def sweep(tmp_path):
    top1 = {(arm, seed): 0.8 + 0.01 * int(seed) for arm in SWEPT["co_bias"] for seed in SWEPT["seed"]}
    return write_sweep(tmp_path / "sweep", SWEPT, top1)


def test_load__gives_what_the_run_says(tmp_path):
    folder = write_run(tmp_path / "run", ["co_bias=false", "seed=3"], [0.5, 0.75, 0.625])
    (run,) = load([folder])
    assert (run.seed, run.arms, run.parameters, run.minutes) == (3, ["co_bias=false"], 1_349_162, 6.5)
    assert run.curve("val/top1") == [(187, 0.5), (375, 0.75), (563, 0.625)]
    assert run.curve("train/loss")[0] == (137, 1.0)
    assert run.value("val/top1") == 0.625
    assert run.value("val/top1", "best") == 0.75


def test_load__takes_a_sweep_for_its_done_jobs(sweep):
    facts = json.loads((sweep / "sweep.json").read_text())
    facts["jobs"]["co_bias-true__seed-1"]["state"] = "failed"
    facts["jobs"]["co_bias-first__seed-0"]["state"] = "running"
    write_jobs(sweep, facts["swept"], facts["jobs"])
    assert len(load([sweep])) == 4
    (said,) = left_out([sweep])
    assert "2 of 6 jobs are not done" in said
    assert "co_bias-true__seed-1 (failed), co_bias-first__seed-0 (running)" in said


def test_load__reads_a_folder_once(sweep):
    assert len(load([sweep, sweep / "co_bias-true__seed-0", f"{sweep}/../sweep"])) == 6


def test_group__keeps_the_swept_order_whatever_the_order_of_jobs(sweep):
    facts = json.loads((sweep / "sweep.json").read_text())
    write_jobs(sweep, facts["swept"], dict(sorted(facts["jobs"].items())))
    arms = group(load([sweep]))
    assert [arm.name for arm in arms] == ["co_bias=true", "co_bias=false", "co_bias=first"]
    assert [[run.seed for run in arm.runs] for arm in arms] == [[0, 1]] * 3


def test_group__follows_by_where_the_runs_do_not_say(tmp_path):
    runs = [
        write_run(tmp_path / f"{a}{s}", [f"block={a}", f"seed={s}"], [0.8], arms=[])
        for a in ("qg", "qib")
        for s in (0, 1)
    ]
    assert [arm.name for arm in group(load(runs), ["block"])] == ["block=qg", "block=qib"]
    with pytest.raises(UsageError, match=r"--by blocks: no run has such a setting; did you mean block\?"):
        group(load(runs), ["blocks"])


def test_group__knows_a_choice_of_nothing(tmp_path):
    choices = {"model": "dotcom_tiny", "experiment": None}
    runs = [write_run(tmp_path / str(seed), [f"seed={seed}"], [0.8], choices=choices) for seed in range(2)]
    assert [arm.name for arm in group(load(runs), ["experiment"])] == ["experiment=null"]


def test_group__without_swept_keys_is_one_arm(tmp_path):
    (arm,) = group(load([write_run(tmp_path / str(seed), [f"seed={seed}"], [0.8]) for seed in range(3)]))
    assert (arm.name, arm.minutes) == ("all", 4.5)


@pytest.mark.parametrize(
    ("values", "control"),
    [
        ({"co_bias": ["true", "first", "false"]}, "co_bias=false"),
        ({"block": ["qib", "basic"]}, "block=qib"),
        ({"block": ["qib", "mv2"], "co_bias": ["true", "false"]}, "block=qib co_bias=false"),
        ({"label_smoothing": ["0.1", "0.0"]}, "label_smoothing=0.0"),
        ({"clip": ["1.0", "null"]}, "clip=null"),
        ({"model": ["dotcom_small", "dotcom_tiny"]}, "model=dotcom_small"),
    ],
)
def test_reference__is_the_control(tmp_path, values, control):
    top1 = dict.fromkeys(product(*values.values(), ["0"]), 0.8)
    arms = group(load([write_sweep(tmp_path / "sweep", values | {"seed": ["0"]}, top1)]))
    assert reference(arms).name == control


def test_reference__may_be_named(sweep):
    arms = group(load([sweep]))
    assert reference(arms, "first") is reference(arms, "co_bias=first") is arms[2]
    with pytest.raises(UsageError, match=r"--reference frist: expected co_bias=true \| .*; did you mean first\?"):
        reference(arms, "frist")


def said(*paths) -> str:
    with pytest.raises(UsageError) as error:
        group(load(paths))
    assert "\n" not in str(error.value)
    return str(error.value)


def test_error__for_a_folder_that_is_no_run(tmp_path, sweep):
    assert said(tmp_path / "nothing").startswith(f"{tmp_path}/nothing: expected the folder of a run")
    assert f"did you mean {tmp_path}/*?" in said(tmp_path)


def test_error__for_a_run_that_is_not_done(tmp_path):
    folder = write_run(tmp_path / "run", ["seed=0"], [0.8], state="preempted")
    assert said(folder) == f"{folder}: expected a run that is done, this one is preempted; finish it first"


def test_error__for_a_sweep_without_done_jobs(tmp_path):
    (tmp_path / "sweep").mkdir()
    write_jobs(tmp_path / "sweep", SWEPT, {"job": {"state": "pending", "arms": []}})
    assert "none of its 1 jobs is done" in said(tmp_path / "sweep")


def test_error__for_a_job_that_is_done_but_gone(sweep):
    (sweep / "co_bias-true__seed-0/run.json").unlink()
    assert "co_bias-true__seed-0/run.json: no such record, though its sweep says that the job is done" in said(sweep)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [("{", "not JSON"), ("{}", "no such record"), ('{"version": 2}', "record of version 1")],
)
def test_error__for_a_record_of_another_make(tmp_path, text, complaint):
    folder = write_run(tmp_path / "run", ["seed=0"], [0.8])
    (folder / "run.json").write_text(text)
    assert complaint in said(folder)


def test_error__for_an_entry_that_is_missing(tmp_path):
    folder = write_run(tmp_path / "run", ["seed=0"], [0.8], macs=None)
    assert said(folder).startswith(f"{folder}/run.json: lacks macs;")


def test_error__for_two_runs_of_one_arm_and_seed(tmp_path):
    runs = [write_run(tmp_path / name, ["co_bias=false", "seed=1"], [0.8]) for name in ("a", "b")]
    assert said(*runs) == f"{runs[0]} and {runs[1]}: both are co_bias=false seed=1; leave one out"


@pytest.mark.parametrize("at", ["last", "best"])
def test_error__for_a_metric_that_was_not_measured(tmp_path, at):
    (run,) = load([write_run(tmp_path / "run", ["seed=0"], [0.8])])
    with pytest.raises(UsageError, match=r"no metric val/top; expected .*; did you mean val/top1\?"):
        run.value("val/top", at)


def test_error__for_a_value_that_is_no_number(tmp_path):
    (run,) = load([write_run(tmp_path / "run", ["seed=0"], [0.8, float("nan")])])
    with pytest.raises(UsageError, match="val/top1 is nan; expected a number"):
        run.value("val/top1")


def test_error__for_metrics_that_are_cut_off(tmp_path):
    folder = write_run(tmp_path / "run", ["seed=0"], [0.8])
    (folder / "metrics.csv").write_text("epoch,step,val/top1\n0,187,0.8\n1,37")
    (run,) = load([folder])
    assert run.curve("val/top1") == [(187, 0.8)]  # a row that was begun has no value yet
    (folder / "metrics.csv").write_text("epoch,step,val/top1\n0,x,0.8\n")
    (run,) = load([folder])
    with pytest.raises(UsageError, match=r"metrics.csv: expected columns step, epoch"):
        run.value("val/top1")


def test_import__does_not_pull_in_torch():
    heavy = ("torch", "lightning", "wandb", "matplotlib")
    code = f"import sys, experiments.formats, experiments.table; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=REPO, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_error__for_an_evaluation(tmp_path):
    folder = write_run(tmp_path / "run", ["seed=0"], [0.8])
    change(folder, fit=False)
    assert "an evaluation (fit=false)" in said(folder)


@pytest.mark.parametrize("cut", [1, 30])
def test_error__for_metrics_that_do_not_reach_the_last_epoch(tmp_path, cut):
    folder = write_run(tmp_path / "run", ["seed=0"], [0.7, 0.8])
    (folder / "metrics.csv").write_bytes((folder / "metrics.csv").read_bytes()[:-cut])
    (run,) = load([folder])
    with pytest.raises(UsageError, match="expected epoch 7 and a whole row; use --at best"):
        run.value("val/top1")
