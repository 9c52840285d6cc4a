"""The configuration is checked as a whole before anything heavy is imported: what is refused, and what is not."""

from typing import Any, get_args

import pytest
from omegaconf import OmegaConf, open_dict

import dotcom.tasks
from dotcom.allowed import CHOICES, METRICS, RANGES
from dotcom.config import checked, leaves
from dotcom.errors import UsageError
from dotcom.hints import arguments_of
from dotcom.models.blocks import BlockKind
from dotcom.models.detector import DetectionLoss
from dotcom.models.dot import CoBiasKind
from dotcom.models.segmenter import SegmentationHead
from test_conf import EMBEDDED, GROUPS, composed


def asked(line: str) -> dict[str, Any]:
    """What ``python train.py LINE`` checks."""
    overrides = line.split()
    chosen = [override for override in overrides if override.partition("=")[0] in GROUPS]
    return checked(composed(*overrides), composed(*chosen))


def test_closed_choices__are_those_of_the_network():
    assert CHOICES["block"] == get_args(BlockKind)
    assert CHOICES["co_bias"] == get_args(CoBiasKind)
    assert CHOICES["head"] == get_args(SegmentationHead)
    assert CHOICES["loss"] == get_args(DetectionLoss)


def test_metrics__are_known_for_every_task():
    assert set(METRICS) == set(dotcom.tasks.__all__)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("epochs=abc", "epochs=abc: expected a whole number, such as the default 8"),
        ("epochs=1.5", "epochs=1.5: expected a whole number"),
        ("epochs=true", "expected a whole number"),
        ("optimizer.lr=fast", "optimizer.lr=fast: expected a number, such as the default 0.004"),
        ("fit=maybe", "fit=maybe: expected true or false"),
        ("epochs=0", "epochs=0: expected a number above 0"),
        ("ema=2", "ema=2: expected a number above 0 and below 1"),
        ("ema=0", "ema=0: expected a number above 0 and below 1"),
        ("data.mixup=-1", "data.mixup=-1: expected a number from 0 on"),
        ("data.train_transform.min_scale=2", "min_scale=2: expected a number above 0, up to 1"),
        ("scheduler.warmup=5", "scheduler.warmup=5: expected a number from 0 to below 1"),
        ("seed=-1", "seed=-1: expected a number from 0 to 4294967295"),
        ("clip=-1", "clip=-1: expected a number above 0"),
        ("co_bias=frist", r"co_bias=frist: expected true \| false \| first \| second; did you mean first\?"),
        ("block=resnet", r"block=resnet: expected basic \| mv2 \| qg \| qib"),
        ("data.train_transform.auto_augment=auto", r"auto_augment=auto: expected rand \| trivial \| null"),
        ("fit=false", "fit=false: expected ckpt_path="),
        ("compile=fast", r"compile=fast: expected false \| true \| default \| reduce-overhead \| max-autotune"),
        ("float32_matmul=low", r"float32_matmul=low: expected highest \| high \| medium"),
        ("checkpointing=[1,5]", r"checkpointing=\[1,5\]: expected all, or a list of numbers from 0 \(the stem\) to 4"),
        ("checkpointing=some", "checkpointing=some: expected all"),
        ("model=shvit_s1 checkpointing=all", "checkpointing=all: expected a network of ours with it"),
        ("precision=half", r"precision=half: expected 32-true \| bf16-mixed \| 16-mixed"),
        ("freeze=-1", "freeze=-1: expected a number from 0 on"),
        ("freeze=1.5", "freeze=1.5: expected a whole number"),
        ("backbone_lr=2", "backbone_lr=2: expected a number above 0, up to 1"),
        ("backbone_lr=0", "backbone_lr=0: expected a number above 0, up to 1"),
        ("data=fashion_boxes monitor=val/top1", r"monitor=val/top1: expected val/map \| val/map_50 \| .*val/loss"),
        ("data=fashion_masks monitor=val/map", r"monitor=val/map: expected val/miou \| val/pixel_accuracy \| val/loss"),
        ("data=fashion_boxes loss=focall", r"loss=focall: expected hard_negative \| focal; did you mean focal\?"),
        ("data=fashion_masks head=deeplab", r"head=deeplab: expected deeplabv3 \| mobilevit; did you mean deeplabv3\?"),
        ("data=fashion_masks separable=maybe", r"separable=maybe: expected true \| false \| null"),
        ("data=fashion_boxes data.train_transform.zoom_out=0.5", "zoom_out=0.5: expected a number from 1 on"),
        ("data=fashion_boxes data.batch_size=1", "data.batch_size=1: expected 2 or more, to normalise maps of one"),
        ("data=fashion_masks data.batch_size=1", "data.batch_size=1: expected 2 or more"),
        ("data=fashion_masks data.val_batch_size=0", "data.val_batch_size=0: expected a number above 0"),
        ("smoke=true fit=false", "smoke=true fit=false: expected one of them; a trial trains anew"),
        ("smoke=true resume=true", "smoke=true resume=true: expected one of them"),
        ("smoke=yes", "smoke=yes: expected true or false"),
        ("+trainer.fast_dev_run=true", r"trainer\.fast_dev_run: expected smoke=true instead"),
        ("+trainer.barebones=true", r"trainer\.barebones: it forbids the logger and the callbacks"),
        ("name=repvit_m1_0", "name=repvit_m1_0: expected model=timm with it"),
        ("model=shvit_s1 name=shvit_s2", "name=shvit_s2: expected model=timm with it"),
        ("model=timm", "name: no value; expected a network of timm, such as model=timm name=repvit_m1_0"),
        ("model=shvit_s1 co_bias=false", "co_bias and block: expected a model of DoTCoM with them"),
        ("model=shvit_s1 block=mv2", "co_bias and block: expected a model of DoTCoM with them"),
        ("weights=timm", "weights=timm: expected model=timm with it, or weights=<file>"),
    ],
)
def test_checked__refuses(override, said):
    with pytest.raises(UsageError, match=said):
        asked(override)


@pytest.mark.parametrize(("data", "metric"), [("fashion", "top1"), ("fashion_boxes", "map"), ("fashion_masks", "miou")])
def test_epoch__is_chosen_by_the_network_that_is_used(data, metric):
    for given, expected in (
        ("", f"val/{metric}"),
        ("ema=0.9", f"val_ema/{metric}"),
        (f"ema=0.9 monitor=val/{metric}", f"val/{metric}"),
        ("ema=0.9 monitor=val_ema/loss", "val_ema/loss"),
    ):
        config = asked(f"data={data} {given}")
        callbacks = [config["callbacks"][name] for name in ("best", "average")]
        assert {part["monitor"] for part in callbacks} == {config["monitor"]} == {expected}
        assert {part["mode"] for part in callbacks} == {"min" if expected.endswith("loss") else "max"}


def test_checked__refuses_clipping_that_a_fused_optimizer_cannot_do():
    with pytest.raises(UsageError, match=r"add optimizer\.fused=false"):
        checked(composed("clip=1", "precision=16-mixed"), composed())
    checked(composed("clip=1", "precision=16-mixed", "optimizer.fused=false"), composed())


@pytest.mark.parametrize(
    "override",
    [
        "hardware.devices=auto",
        "data.mixup=1",
        "optimizer.lr=1",
        "ema=0.99",
        "clip=1",
        "co_bias=first",
        "seed=3",
        "run_name=x",
        "freeze=2",
        "backbone_lr=0.1",
        "model=timm name=shvit_s1",
        "model=shvit_s1 weights=timm",
        "compile=True",
        "compile=reduce-overhead",
        "checkpointing=all",
        "data=fashion_boxes monitor=val/map_50",
        "data=fashion_boxes loss=focal",
        "data=fashion_boxes data.train_transform.zoom_out=2",
        "data=fashion_masks monitor=val/loss",
        "data=fashion_masks head=mobilevit",
        "data=fashion_masks separable=False",
        "data=fashion_masks label_smoothing=0.1",
        "data.batch_size=1",
    ],
)
def test_checked__accepts(override):
    config = asked(override)
    key, value = override.split()[-1].split("=")
    assert str(OmegaConf.select(OmegaConf.create(config), key)) == value


def test_checked__gives_plain_values_only():
    def plain(node: object) -> bool:
        if isinstance(node, dict):
            return all(isinstance(key, str) and plain(value) for key, value in node.items())
        return all(map(plain, node)) if isinstance(node, list) else isinstance(node, str | int | float | None)

    assert plain(checked(composed(), composed()))


def test_ranges__are_of_settings_that_exist():
    settings = [composed(f"data={data}", "optimizer=sgd") for data in EMBEDDED]  # some are of one task only
    added = {f"optimizer.{name}" for name in (*arguments_of("torch.optim.SGD"), *arguments_of("torch.optim.AdamW"))}
    keys = [key for _, some in RANGES.values() for key in some if key not in added]
    assert [key for key in keys if all(OmegaConf.select(cfg, key, default="?") == "?" for cfg in settings)] == []


def test_leaves__leave_out_what_is_not_settled():
    cfg = OmegaConf.create({"a": {"b": 1}, "c": "${a.b}", "d": "???"})
    with open_dict(cfg):
        assert dict(leaves(cfg)) == {"a.b": 1}
