"""Values out of reach are one line before anything is built: of every key, and of several together."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf

from dotcom.config import checked
from dotcom.errors import UsageError
from dotcom.models import Detector
from dotcom.values import memory
from test_checked import asked
from test_conf import EMBEDDED, composed

BAD = {
    "nan": math.nan,
    "negative": -7,
    "huge": 10**12,
    "half": 1.5,
    "text": "nope",
    "list": ["a"],
    "group": {"a": 1},
}
HUGE = (  # sums of seconds, steps and factors cost no memory, however large
    "learning_rates.",
    "clip",
    "save_every_",
    "job_timeout",
    "optimizer.lr",
    "optimizer.weight_decay",
    "hardware.num_workers",  # these data have 0 of their own
)
HALF = ("learning_rates.", "clip", "save_every_minutes", "job_timeout", "optimizer.", "data.mixup", "data.cutmix")
TEXT = (  # names, folders and whatever Lightning knows
    "run_name",
    "sweep",
    "output_dir",
    "teacher",  # any network of timm
    "hardware.strategy",
    "trainer.default_root_dir",
    "callbacks.",
    "logger.",
    "model.variant",
)


def settings() -> Iterator[tuple[str, str]]:
    """Every key of the three tasks once, with the data that bring it."""
    seen = set()
    for data in EMBEDDED:
        for key in dotted(OmegaConf.to_container(composed(f"data={data}"), resolve=False)):
            if key not in seen and not key.endswith(("_target_", "_partial_")):
                seen.add(key)
                yield data, key


def dotted(node: Any, prefix: str = "") -> Iterator[str]:
    for name, value in node.items():
        if isinstance(value, dict):
            yield from dotted(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def legitimate(key: str, kind: str) -> bool:
    """Whether a value of this kind makes sense for the key, so that it may be accepted."""
    if kind == "list":
        return key in ("arms", "trainer.plugins")
    if kind == "text":
        return key.startswith(TEXT)
    if kind == "half":
        return key.startswith(HALF) or key == "data.train_transform.zoom_out"
    return kind == "huge" and (key.startswith(HUGE))


@pytest.mark.parametrize("data", EMBEDDED)
def test_wrong_value_of_any_key__is_one_line_or_makes_sense(data):
    wrong, defaults = [], composed(f"data={data}")
    for source, key in settings():
        for kind, value in BAD.items() if source == data else ():
            cfg = composed(f"data={data}")
            OmegaConf.update(cfg, key, value, merge=False, force_add=True)
            try:
                checked(cfg, defaults)
                said = ""
            except UsageError as error:
                said = str(error)
            named = key in said or key.rpartition(".")[2] in said
            if (said and not ("\n" not in said and named)) or (not said and not legitimate(key, kind)):
                wrong.append((key, kind, said))
    assert wrong == []


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("optimizer.lr=inf", "optimizer.lr=inf: expected a finite number"),
        ("optimizer.weight_decay=nan", "optimizer.weight_decay=nan: expected a finite number"),
        ("image_size=3200000", "image_size=3200000: expected a multiple of 32 above 0, up to 8192"),
        ("data.train_transform.image_size=70", "data.train_transform.image_size=70: expected a multiple of 32 above 0"),
        ("data.num_workers=100000", "data.num_workers=100000: expected up to "),
        (
            "data.batch_size=900000 image_size=8192",
            "data.batch_size=900000 with images of 8192 pixels: one batch",
        ),
        ("save_every_steps=1.5", "save_every_steps=1.5: expected a whole number, or null"),
        ("data.batch_size=1 image_size=32", "data.batch_size=1: with images of 32 pixels, batch norm would see one"),
        ("data.batch_size=1 progressive=32", "data.batch_size=1: with images of 32 pixels, batch norm would see one"),
        ("data.num_classes=5", "data.num_classes=5: these data have 10 classes; leave it out"),
        ("data=fashion_masks data.num_classes=21", "data.num_classes=21: these data have 11 classes"),
        ("data.root=/photos", "data.root=/photos: dotcom.data.fashion comes with the package; data=image_folder reads"),
        ("+optimizer.betas=[0.9,1.5]", "optimizer.betas=[0.9,1.5]: expected two numbers from 0 to below 1"),
        ("+optimizer.betas=[0.9]", "optimizer.betas=[0.9]: expected two numbers"),
        ("+optimizer.eps=-1", "optimizer.eps=-1: expected a number above 0"),
        ("optimizer=sgd optimizer.momentum=1", "optimizer.momentum=1: expected a number from 0 to below 1"),
        ("optimizer=sgd optimizer.momentum=0", "optimizer.momentum=0: expected optimizer.nesterov=false with it"),
        ("slots=0", "slots=0: expected a number from 1 on, or devices: [cuda:0,cuda:1]"),
        ("hardware.devices=0", "hardware.devices=0: expected auto, a number from 1 on"),
        ("hardware.devices=-3", "hardware.devices=-3: expected auto"),
        ("hardware.devices=[0,0]", "hardware.devices=[0,0]: expected auto"),
        ("+trainer.limit_train_batches=-1", "trainer.limit_train_batches=-1: expected a fraction of the batches"),
        ("multi_scale=[64,9600]", "multi_scale=[64,9600]: expected multiples of 32"),
        ("data.val_transform.resize=32", "data.val_transform.resize=32: expected 64 or more"),
        ("data=fashion_boxes anchor_scales=[1]", "anchor_scales=[1]: expected two rising numbers above 0, up to 2"),
        ("data=fashion_boxes anchor_scales=[0.9,0.2]", "anchor_scales=[0.9,0.2]: expected two rising numbers"),
        ("data=fashion_boxes anchor_scales=[a,b]", "anchor_scales=[a,b]: expected two rising numbers"),
        ("data=fashion_boxes extra_channels=[a]", "extra_channels=[a]: expected even numbers from 2 to 8192"),
        ("data=fashion_boxes extra_channels=[-2]", "extra_channels=[-2]: expected even numbers"),
        ("data=fashion_boxes extra_channels=[3]", "extra_channels=[3]: expected even numbers"),
        ("data=fashion_masks class_weights=[1,2]", "class_weights=[1,2]: expected 11 numbers from 0 on, one for each"),
        ("data=fashion_masks class_weights=[0,0,0,0,0,0,0,0,0,0,0]", "some above 0"),
        ("data=fashion_masks class_weights=[-1,0,0,0,0,0,0,0,0,0,1]", "expected 11 numbers from 0 on"),
        ("data=fashion_masks class_weights=[nan,0,0,0,0,0,0,0,0,0,1]", "class_weights=[nan,"),
        ("trainer.max_epochs=3", "trainer.max_epochs=3: it repeats epochs; set epochs=3 instead"),
        ("task.label_smoothing=0.1", "task.label_smoothing=0.1: it repeats label_smoothing; set label_smoothing=0.1"),
        ("pyramid=true", "pyramid=true: the task sets it; leave it out"),
    ],
)
def test_value_out_of_reach__is_refused(line, said):
    with pytest.raises(UsageError) as raised:
        asked(line)
    assert said in str(raised.value)


@pytest.mark.parametrize(
    "line",
    [
        "data=fashion_boxes anchor_scales=[0.1,1.05]",  # those of MobileViT
        "data=fashion_boxes extra_channels=[]",
        "data=fashion_masks class_weights=[0,1,1,1,1,1,1,1,1,1,2.5]",
        "+optimizer.betas=[0.9,0.95] +optimizer.eps=1e-6",
        "hardware.devices=[0,1]",
        "hardware=ddp_cpu hardware.devices=5",
        "hardware=ddp hardware.devices=5",
        "hardware.devices=-1",
        "callbacks.histograms=null",
        "data.num_classes=10",
        "+trainer.limit_train_batches=2 +trainer.limit_val_batches=0.5",
        "slots=[cuda:0,cpu]",
        "data.seed=3 data.train_transform.image_size=32",
    ],
)
def test_value_within_reach__is_accepted(line):
    asked(line)


def test_own_data__decide_how_many_classes_there_are(photos):
    asked(f"data=image_folder data.root={photos} data.num_classes=2")
    with pytest.raises(UsageError, match=r"^data\.num_classes=5: these data have 2 classes; leave it out"):
        asked(f"data=image_folder data.root={photos} data.num_classes=5")


def test_memory__is_that_of_a_machine():
    assert 2**28 < memory() < 2**50


def test_detector__takes_anchors_larger_than_the_image_and_no_further_maps(backbone):
    network = Detector(backbone, num_classes=2, anchor_scales=(0.1, 1.05), extra_channels=[])
    outputs = network(torch.zeros(2, 3, 64, 64))
    assert outputs["anchors"].isfinite().all()
    assert len(outputs["anchors"]) == outputs["cls_logits"].shape[1]
