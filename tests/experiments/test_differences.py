"""What a sweep meant to change may differ, copies included; nothing else, and the list says what and where."""

import json
from itertools import product

import pytest
from experiments.differences import circumstances, differences, foreign
from experiments.records import load
from experiments.study import read_study

from dotcom.errors import UsageError
from run_folders import change, write_run, write_sweep


def written(tmp_path, key, values, seeds=2):
    swept = {key: list(values), "seed": [str(seed) for seed in range(seeds)]}
    return write_sweep(tmp_path / "sweep", swept, dict.fromkeys(product(*swept.values()), 0.8))


def unmeant(sweep, *keys):
    return [difference.key for difference in differences(load([sweep]), keys) if not difference.swept]


@pytest.mark.parametrize(
    ("key", "values", "copies"),
    [
        ("co_bias", ("true", "first"), {"co_bias", "model.co_bias", "task.model.backbone.co_bias"}),
        ("block", ("basic", "qib"), {"block", "model.block", "task.model.backbone.block"}),
        ("model", ("dotcom_tiny", "dotcom_small"), {"model.variant", "task.model.backbone.variant"}),
        ("optimizer", ("adamw", "sgd"), {"optimizer.lr", "task.optimizer.lr", "task.optimizer.momentum"}),
        ("data.batch_size", ("16", "32"), {"data.batch_size", "effective_batch"}),
        ("precision", ("32-true", "bf16-mixed"), {"precision"}),
        ("epochs", ("4", "8"), {"epochs"}),
    ],
)
def test_swept__covers_the_key_and_its_copies(tmp_path, key, values, copies):
    sweep = written(tmp_path, key, values)
    found = differences(load([sweep]), [key])
    assert copies | {"seed", "data.seed"} <= {difference.key for difference in found}
    assert unmeant(sweep, key) == []


def test_swept__does_not_cover_what_is_computed_from_the_key(tmp_path):
    sweep = written(tmp_path, "image_size", ("64", "96"))
    change(sweep / "image_size-96__seed-0", data__val_transform__resize=72)
    change(sweep / "image_size-96__seed-1", data__val_transform__resize=72)
    assert unmeant(sweep, "image_size") == ["data.val_transform.resize"]


def test_swept__must_be_constant_within_an_arm(tmp_path):
    sweep = written(tmp_path, "model", ("dotcom_tiny", "dotcom_small"))
    change(sweep / "model-dotcom_small__seed-1", model__variant="base", task__model__backbone__variant="base")
    assert unmeant(sweep, "model") == ["model.variant", "task.model.backbone.variant"]


def test_swept__does_not_cover_an_equal_pattern_of_another_name(tmp_path):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    for seed in range(2):  # a boolean that goes with the arm, as after a change of the defaults
        change(sweep / f"co_bias-false__seed-{seed}", model__pretrained=False)
        change(sweep / f"co_bias-true__seed-{seed}", model__pretrained=True)
    assert unmeant(sweep, "co_bias") == ["model.pretrained"]


def test_seed__covers_only_seeds_that_are_the_seed(tmp_path):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    assert unmeant(sweep, "co_bias") == []
    change(sweep / "co_bias-true__seed-1", data__seed=7)
    assert unmeant(sweep, "co_bias") == ["data.seed"]


@pytest.mark.parametrize(
    ("settings", "keys"),
    [
        ({"data__batch_size": 64}, ["data.batch_size", "effective_batch"]),
        ({"data__batch_size": 16, "accumulate": 2}, ["accumulate", "data.batch_size"]),
        ({"hardware__devices": 2}, ["effective_batch"]),
        ({"hardware__devices": [0, 1]}, ["effective_batch"]),
        ({"hardware__num_nodes": 2}, ["effective_batch"]),
        ({"precision": "bf16-mixed"}, ["precision"]),
        ({"trainer__limit_train_batches": 3}, ["trainer.limit_train_batches"]),
        ({"optimizer__lr": 0.01}, ["optimizer.lr"]),
        ({"data__num_workers": 2, "output_dir": "elsewhere", "compile": True}, []),
    ],
)
def test_differences__are_those_that_change_a_result(tmp_path, settings, keys):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    change(sweep / "co_bias-false__seed-1", **settings)
    assert unmeant(sweep, "co_bias") == keys


def test_refusal__lists_key_values_and_runs(tmp_path):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    change(sweep / "co_bias-false__seed-1", epochs=9, optimizer__weight_decay=0.1)
    with pytest.raises(UsageError) as error:
        read_study([sweep])
    said = str(error.value)
    assert said.startswith("the runs differ outside of what was swept (co_bias, seed)")
    assert said.endswith("--allow epochs,optimizer.weight_decay")
    listed = (
        "epochs: 8 in 3 runs; 9 in co_bias-false__seed-1; optimizer.weight_decay: 0.005 in 3 runs; 0.1 in co_bias-f"
    )
    assert f"would mislead: {listed}" in said


def test_allow__lets_a_named_difference_pass_and_says_so(tmp_path):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    change(sweep / "co_bias-false__seed-1", clip=9, optimizer__lr=0.1)
    with pytest.raises(UsageError, match=r"--allow optimizer\.lr$"):
        read_study([sweep], allow=["clip"])
    study = read_study([sweep], allow=["clip", "optim*"])
    assert [note for note in study.notes if note.startswith("allowed to differ: clip: null in 3 runs")]
    assert [note for note in study.notes if note.startswith("allowed to differ: optimizer.lr: 0.004 in 3 runs")]


def test_by__takes_the_place_of_what_the_runs_say(tmp_path):
    runs = [
        write_run(tmp_path / f"{block}{seed}", [f"block={block}", f"seed={seed}"], [0.8], arms=[])
        for block, seed in product(("qg", "qib"), range(2))
    ]
    with pytest.raises(UsageError, match="--allow block"):
        read_study(runs)
    assert [arm.name for arm in read_study(runs, by=["block"]).arms] == ["block=qg", "block=qib"]


def test_commit__is_told_but_no_reason_to_refuse(tmp_path):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    path = sweep / "co_bias-false__seed-1" / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"commit": "def5678"}))
    said = "not the same commit: abc1234 in 3 runs; def5678 in co_bias-false__seed-1"
    assert circumstances(load([sweep])) == [said]
    assert said in read_study([sweep]).notes


def test_checkpoint__of_another_run_counts_and_its_own_does_not(tmp_path):
    sweep = written(tmp_path, "co_bias", ("true", "false"))
    folder = sweep / "co_bias-false__seed-1"
    change(folder, ckpt_path=str(folder / "last.ckpt"))
    assert unmeant(sweep, "co_bias") == []
    change(folder, ckpt_path="other/last.ckpt")
    assert unmeant(sweep, "co_bias") == ["ckpt_path"]


def test_swept_data__covers_all_that_is_constant_within_an_arm(tmp_path):
    sweep = written(tmp_path, "block", ("qib", "qg"))
    for seed in range(2):
        change(sweep / f"block-qib__seed-{seed}", clip=9)
    assert unmeant(sweep, "block") == ["clip"]
    assert unmeant(sweep, "block", "data") == []


def test_settings__see_what_steers_a_training_from_beside():
    config = {"callbacks": {"stop": {"_target_": "lightning.pytorch.callbacks.EarlyStopping"}, "off": None}}
    assert foreign(config) == ["lightning.pytorch.callbacks.EarlyStopping"]
