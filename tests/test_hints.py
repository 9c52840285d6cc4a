"""What somebody may have meant: names of other frameworks, options with dashes, keys of other choices."""

import sys

import pytest
from omegaconf import OmegaConf

from dotcom.errors import (
    CONF,
    SHARED,
    UsageError,
    default_settings,
    dotted,
    known_keys,
    refused_by_trainer,
    unknown_key,
)
from dotcom.hints import SYNONYMS, arguments_of, brought_by, check_flags, check_task, hint, tasks_of
from dotcom.sweep.grid import check_swept, parsed
from test_checked import asked
from test_conf import EMBEDDED, composed


def answered(monkeypatch, *words: str) -> str:
    """What is said of the last word, a setting that there is not."""
    monkeypatch.setattr(sys, "argv", ["train.py", *words])
    return unknown_key(f"Could not override '{words[-1].partition('=')[0].lstrip('+')}'.")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["learning_rate=0.01"], "learning_rate: no such setting; did you mean optimizer.lr?"),
        (["learnig_rate=0.01"], "learnig_rate: no such setting; did you mean optimizer.lr?"),
        (["optimizer.learning_rate=0.01"], "optimizer.learning_rate: no such setting; did you mean optimizer.lr?"),
        (["batch_size=8"], "batch_size: no such setting; did you mean data.batch_size?"),
        (["gpus=2"], "gpus: no such setting; did you mean hardware.devices?"),
        (
            ["trainer.limit_train_batches=1"],
            "trainer.limit_train_batches: it is not among the settings yet; add it with a plus: "
            "+trainer.limit_train_batches=1",
        ),
        (["trainer.limit_train_batchs=1"], "; did you mean +trainer.limit_train_batches?"),
        (["optimizer.betas=[0.9,0.95]"], "add it with a plus: +optimizer.betas=[0.9,0.95]"),
        (["anchor_scales=[0.1,0.9]"], "it comes with data=coco | coco_format | fashion_boxes | voc_detection"),
        (["data=fashion_boxes", "data.mixup=1"], "it comes with data=cifar10 | cifar100 | fashion | fashion_mnist"),
        (["momentum=0.9"], "optimizer.momentum comes with optimizer=sgd"),
        (["scheduler=constant", "scheduler.warmup=0.1"], "it comes with scheduler=warmup_cosine"),
        (["logger.wandb.project=x"], "it comes with logger=wandb"),
        (["optimizer=sgd", "optimizer.momentm=0.5"], "; did you mean optimizer.momentum?"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_unknown_key__leads_to_the_right_one(monkeypatch, words, said):
    line = answered(monkeypatch, *words)
    assert said in line
    assert line.endswith("python train.py --help lists all")


def test_synonyms__lead_to_keys_and_choices_that_exist():
    known = {*brought_by(), *known_keys(default_settings()), "hydra.run.dir"}
    groups = {f"{file.parent.name}={file.stem}" for file in CONF.glob("*/*.yaml")}
    assert [key for key in SYNONYMS if key not in known | groups | {"fit=false"}] == []
    words = " ".join(SYNONYMS.values()).split()
    assert len(words) == len(set(words))
    assert [word for word in words if OmegaConf.select(composed(), word, default=None) is not None] == []


def test_key_of_another_choice__names_a_choice_that_has_it():
    """All keys of all groups, from those of each task."""
    for data in EMBEDDED:
        config = OmegaConf.to_container(composed(f"data={data}"), resolve=False)
        known = known_keys(config)
        for key, choices in brought_by().items():
            if key not in known:
                line = str(hint(key, "1", config, known))
                group = choices[0].partition("=")[0]
                assert f"comes with {group}=" in line, key
                first = line.partition(f"comes with {group}=")[2].split()[0]
                assert f"{group}={first}" in choices


@pytest.mark.parametrize("choice", [file.stem for file in (CONF / "data").glob("*.yaml")])
def test_data__bring_the_keys_that_they_compose_to(choice):
    if choice in SHARED["data"]:
        return
    config = OmegaConf.to_container(composed(f"data={choice}"), resolve=False)
    there = set(dotted(config))
    assert [key for key, choices in brought_by().items() if f"data={choice}" in choices and key not in there] == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("--epochs=3", "--epochs: settings have no dashes here; did you mean epochs=3?"),
        ("--epochs 3", "did you mean epochs=3?"),
        ("model=dotcom_base --learning-rate 0.1", "did you mean optimizer.lr=0.1?"),
        ("-e 3", "-e: settings have no dashes here"),
        ("--wandb", "did you mean logger=wandb?"),
        ("--config-name nope", "--config-name nope: no such file"),
        ("--config-dir /nope", "--config-dir /nope: no such folder"),
        ("-cd=/nope", "-cd /nope: no such folder"),
    ],
)
def test_flags__are_those_of_hydra(line, said):
    with pytest.raises(UsageError) as raised:
        check_flags(line.split())
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "line", ["-m seed=0,1", "--multirun", "--cfg job", "--help", "--config-name config", "~logger"]
)
def test_flags__of_hydra_are_left_to_it(line, tmp_path):
    (tmp_path / "mine.yaml").touch()
    check_flags(line.split())
    check_flags(["--config-dir", str(tmp_path), "--config-name", "mine"])


def test_task__is_that_of_the_data():
    assert {data: tasks_of(data) for data in EMBEDDED} == dict(
        zip(EMBEDDED, ("classification", "detection", "segmentation"), strict=True)
    )
    check_task({"task": "detection", "data": "fashion_boxes"})
    with pytest.raises(UsageError, match=r"^task=detection: the data bring the task, .* choose data=coco \|"):
        check_task({"task": "detection", "data": "fashion"})


@pytest.mark.parametrize("text", ["seed=interval(0,1)", "model=glob(nope*)"])
def test_sweep__needs_values(text):
    class Loader:
        def get_group_options(self, *args, **kwargs):
            return ["dotcom_tiny"]

    with pytest.raises(UsageError) as raised:
        check_swept(parsed([text], None, Loader()))
    assert str(raised.value).startswith(f"{text}: ")
    check_swept(parsed(["seed=0,1", "model=glob(dot*)", "epochs=3"], None, Loader()))


def test_arguments__are_read_without_importing():
    assert {"limit_train_batches", "max_steps", "profiler"} <= set(arguments_of("lightning.Trainer"))
    assert {"betas", "eps", "amsgrad"} <= set(arguments_of("torch.optim.AdamW"))
    assert "monitor" in arguments_of("lightning.pytorch.callbacks.ModelCheckpoint")
    assert arguments_of("dotcom.models.DoTCoM.from_variant") is None


@pytest.mark.parametrize(
    ("added", "said"),
    [
        ("+trainer.limit_train_batchs=1", "lightning.Trainer takes no limit_train_batchs; did you mean limit_train_ba"),
        ("+data.foo=1", "data.foo: dotcom.data.DataModule takes no foo"),
        ("+optimizer.beta=1", "optimizer.beta: torch.optim.AdamW takes no beta; did you mean betas?"),
    ],
)
def test_added_setting__is_one_that_somebody_takes(added, said):
    with pytest.raises(UsageError) as raised:
        asked(added)
    assert said in str(raised.value)
    asked("+trainer.limit_train_batches=2 +optimizer.eps=1e-6")


def test_value_that_the_trainer_refuses__is_no_matter_of_the_hardware():
    assert refused_by_trainer("invalid value -1 for limit_train_batches") == (
        "trainer.limit_train_batches: invalid value -1 for limit_train_batches"
    )
    assert refused_by_trainer("No supported gpu backend found!").endswith("try hardware=cpu")
