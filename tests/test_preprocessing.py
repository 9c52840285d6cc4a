"""Images are prepared as the weights expect it that a run starts from, in training and in all that comes after."""

import json

import numpy as np
import pytest
import torch
from PIL import Image

from dotcom.checkpoint import check_files
from dotcom.data import crop_and_flip, resize_and_crop
from dotcom.data.checkpoint import data_of
from dotcom.deploy.card import preprocessing
from dotcom.errors import UsageError
from dotcom.fingerprint import fingerprint
from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.inference.other_data import data_config
from dotcom.inference.predictor import Predictor
from dotcom.inference.saved_run import saved_run
from dotcom.report import prepared_images
from saved_runs import root_of
from test_checked import asked

AS_IS = ([0.0, 0.0, 0.0], [1.0, 1.0, 1.0])
USUAL = (list(IMAGENET_MEAN), list(IMAGENET_STD))


def normal(line: str):
    data = asked(line)["data"]
    return data["mean"], data["std"]


def test_weights_of_timm__bring_the_normalisation_that_they_expect():
    for task in ("fashion", "fashion_boxes", "fashion_masks"):
        assert normal(f"model=mobilevit_s data={task} weights=timm") == AS_IS
        assert normal(f"model=mobilevit_s data={task}") == USUAL
    assert normal("model=repvit_m1_0 weights=timm") == USUAL
    assert normal("model=mobilevit_s weights=timm data.mean=[0.5,0.5,0.5]") == ([0.5, 0.5, 0.5], AS_IS[1])


def test_weights_of_timm__bring_interpolation_and_crop(photos):
    own = f"data=image_folder data.root={photos}"
    data = asked(f"model=mobilevit_s weights=timm {own}")["data"]
    assert data["val_transform"]["interpolation"] == data["train_transform"]["interpolation"] == "bicubic"
    assert data["val_transform"]["resize"] == 284  # 256 / 0.9, rounded down as timm does
    assert asked(f"model=repvit_m1_0 weights=timm {own}")["data"]["val_transform"]["resize"] == 269  # 256 / 0.95
    plain = asked(f"model=mobilevit_s {own}")["data"]
    assert (plain["val_transform"]["resize"], plain["val_transform"]["interpolation"]) == (288, "bilinear")
    said = "images with mean [0.0,0.0,0.0] and deviation [1.0,1.0,1.0], bicubic, validation 256 of 284 pixels"
    assert prepared_images(data) == said


def test_interpolation__is_that_of_torchvision():
    image = torch.randint(0, 256, (3, 50, 70), dtype=torch.uint8)
    sharp, soft = (resize_and_crop(32, 40, how)(image) for how in ("bicubic", "bilinear"))
    assert not torch.equal(sharp, soft)
    torch.testing.assert_close(soft, resize_and_crop(32, 40)(image), rtol=0, atol=0)
    torch.manual_seed(0)
    first = crop_and_flip(32)(image)
    torch.manual_seed(0)
    torch.testing.assert_close(crop_and_flip(32, interpolation="bilinear")(image), first, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("data.mean=[0.5,0.5]", r"data\.mean=\[0\.5,0\.5\]: expected (a number|three numbers)"),
        ("data.std=[0.5,0,0.5]", r"data\.std=\[0\.5,0,0\.5\]: expected (a number above 0|three numbers above 0)"),
        ("data.mean=half", "data.mean=half: expected"),
        ("data.val_transform.interpolation=nearest", r"interpolation=nearest: expected bilinear \| bicubic"),
    ],
)
def test_wrong_values__are_refused(override, said):
    with pytest.raises(UsageError, match=said):
        asked(override)


def test_fingerprint__is_that_of_runs_before_there_were_these_keys():
    now = asked("")
    before = json.loads(json.dumps(now))
    for group, keys in ((before["data"], ("mean", "std")), (before["data"]["val_transform"], ("interpolation",))):
        for key in keys:
            del group[key]
    del before["data"]["train_transform"]["interpolation"]
    assert fingerprint(before) == fingerprint(now)
    assert fingerprint(asked("data.mean=[0.5,0.5,0.5]")) != fingerprint(now)


@pytest.fixture
def as_is(checkpoints, tmp_path):
    """A checkpoint of a run whose images were in [0, 1], and bicubic."""
    saved = torch.load(checkpoints("classification"), weights_only=True)
    config = json.loads(json.dumps(saved["config"]))
    config["data"] |= {"mean": AS_IS[0], "std": AS_IS[1]}
    config["data"]["val_transform"]["interpolation"] = "bicubic"
    torch.save({**saved, "config": config}, tmp_path / "as_is.ckpt")
    return tmp_path / "as_is.ckpt"


def test_checkpoint__keeps_its_preparation_in_all_that_reads_it(as_is, photos):
    run = saved_run(as_is)
    picture = Image.fromarray(np.full((70, 60, 3), 51, np.uint8))
    predictor = Predictor(as_is, "cpu")
    pixels = predictor.normalize(predictor.prepare(picture).image)
    torch.testing.assert_close(pixels, torch.full_like(pixels, 0.2))  # 51 / 255
    card = preprocessing(run.config["data"], "Classification", 64)
    assert (card["mean"], card["std"], card["interpolation"]) == (*AS_IS, "bicubic, antialiased")
    for given in (
        [root_of(as_is)],
        [f"data.root={photos}"],
        ["data=image_folder", f"data.root={photos}"],
    ):  # evaluate, export
        data = data_config(run, given)
        assert (data["mean"], data["std"]) == AS_IS
        assert data["val_transform"]["interpolation"] == "bicubic"
        assert data_of({"data": data}).normalize.mean.tolist() == AS_IS[0]
    other = data_config(run, ["data=image_folder", f"data.root={photos}", "data.mean=[0.5,0.5,0.5]"])
    assert other["mean"] == [0.5, 0.5, 0.5]


def test_run__that_starts_from_a_checkpoint_takes_over_its_normalisation(as_is, checkpoints):
    assert normal(f"block=mv2 image_size=64 weights={as_is}") == AS_IS
    assert normal(f"block=mv2 image_size=64 weights={checkpoints('classification')}") == USUAL


def test_longer_training__does_not_change_the_normalisation_silently(as_is, photos):
    config = torch.load(as_is, weights_only=True)["config"]
    going_on = config | {"ckpt_path": str(as_is), "resume": False, "epochs": 9, "output_dir": "nowhere"}
    usual = going_on | {"data": {**config["data"], "mean": USUAL[0], "std": USUAL[1]}}
    check_files(dict(going_on))
    with pytest.raises(UsageError, match=r"add data\.mean=\[0\.0,0\.0,0\.0\] data\.std=\[1\.0,1\.0,1\.0\]"):
        check_files(usual)
