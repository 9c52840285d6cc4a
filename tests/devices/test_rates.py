"""Learning rates follow the batch of all processes by the rule that ``lr_scaling`` names; by default they stay."""

import math
from types import SimpleNamespace

import pytest
import torch
from omegaconf import OmegaConf

from dotcom.errors import UsageError
from dotcom.fingerprint import NEWER, fingerprint
from dotcom.optim import rate_factor, warmup_cosine
from dotcom.report import steps
from dotcom.resume import own_settings, select
from dotcom.tasks import Classification
from test_checked import asked


@pytest.mark.parametrize(
    ("line", "processes", "factor"),
    [
        ("", 8, 1.0),
        ("lr_scaling=linear", 1, 1.0),
        ("lr_scaling=linear", 4, 4.0),
        ("lr_scaling=linear accumulate=2 data.batch_size=64", 4, 16.0),
        ("lr_scaling=sqrt", 4, 2.0),
        ("lr_scaling=sqrt lr_batch=256", 2, math.sqrt(1 / 4)),
    ],
)
def test_rates__follow_the_batch_of_all_processes(line, processes, factor, classifier):
    config = asked(line)
    assert rate_factor(config, processes) == pytest.approx(factor)
    task = Classification(classifier, torch.optim.AdamW, warmup_cosine, 3, backbone_lr=0.1)
    task.config = config
    task.trainer = SimpleNamespace(world_size=processes, estimated_stepping_batches=10)
    groups = task.configure_optimizers()["optimizer"].param_groups
    assert [group["initial_lr"] for group in groups] == pytest.approx([0.001 * factor, 0.0001 * factor])


def test_rates__stay_in_a_configuration_from_before():
    assert rate_factor({}, 8) == 1.0


def test_run__says_its_batch_and_rate():
    assert steps(asked(""), 1) == "32 images a step, learning rate 0.004"
    assert steps(asked("accumulate=2 lr_scaling=linear sync_batchnorm=true"), 4) == (
        "256 images a step (32 x 4 processes x 2 accumulated), learning rate 0.032 (linear: 0.004 for 32 images), "
        "batch norms over all processes"
    )


def test_lr_scaling__is_one_of_the_rules():
    with pytest.raises(
        UsageError, match=r"^lr_scaling=linaer: expected linear \| sqrt \| null; did you mean linear\?$"
    ):
        asked("lr_scaling=linaer")


def test_newer_keys__leave_the_name_of_a_run_alone_and_change_it_when_used():
    before = {key: value for key, value in asked("").items() if key not in NEWER}
    assert fingerprint(before) == fingerprint(asked("")) == fingerprint(asked("lr_batch=512"))
    others = ["lr_scaling=linear", "lr_scaling=linear lr_batch=512", "lr_scaling=sqrt", "sync_batchnorm=true"]
    assert len({fingerprint(before), *map(fingerprint, map(asked, others))}) == 5


def test_run_from_before__goes_on_without_the_newer_keys_only():
    old = OmegaConf.create({key: value for key, value in asked("").items() if key not in {*NEWER, "lr_batch"}})
    for line, differing in (
        ("", []),
        ("lr_scaling=sqrt", ["lr_scaling", "lr_batch"]),
        ("sync_batchnorm=true", ["sync_batchnorm"]),
    ):
        config = asked(line)
        new = OmegaConf.create(config)
        keys = dict.fromkeys(own_settings(config))
        assert {key for key in keys if select(old, key) != select(new, key)} == set(differing)
