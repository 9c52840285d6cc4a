"""A mistake on the command line is one line, exit code 2, before torch is imported; a bug keeps its traceback."""

import resource
import subprocess
import sys

import pytest
import torch

from conftest import REPO
from dotcom.errors import UsageError, one_line_errors
from files import make_coco, make_masks, make_voc, save_mask

WATCHED = f"""
import atexit, runpy, sys
atexit.register(lambda: print("torch imported:", "torch" in sys.modules, file=sys.__stdout__))
sys.argv[0] = r"{REPO / "train.py"}"
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def watched(folder, *overrides: str) -> subprocess.CompletedProcess[str]:
    """Run train.py and let it say at its end whether torch was imported."""
    command = [sys.executable, "-c", WATCHED, *overrides]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["co_bais=true"], "co_bais: no such setting; did you mean co_bias?"),
        (["qqqqqq=1"], "qqqqqq: no such setting; python train.py --help lists all"),
        (["modle=dotcom_base"], "modle: no such setting; did you mean model?"),
        (["lr=0.1"], "lr: no such setting; did you mean optimizer.lr?"),
        (["model=dotcom_bse"], "model=dotcom_bse: expected crossvit_9 | crossvit_small | crossvit_tiny | deit_tiny | "),
        (["epochs=abc"], "epochs=abc: expected a whole number, such as the default"),
        (["optimizer.lr=fast"], "optimizer.lr=fast: expected a number, such as the default 0.004"),
        (["block=resnet"], "block=resnet: expected basic | mv2 | qg | qib"),
        (["data=imagenet", "data.root=nowhere"], "data.root=nowhere: no such folder; expected ROOT/train/<class>/"),
        (["data=image_folder", "data.root=empty"], "data.root=empty: there is no folder train in it; expected ROOT/"),
        (["data=image_folder", "data.root=differ"], "data.root=differ: 1 classes are in train but not in val: b"),
        (["ckpt_path=none.ckpt"], "ckpt_path=none.ckpt: no such file"),
        (["ckpt_path=text.ckpt"], "ckpt_path=text.ckpt: no PyTorch checkpoint, or a damaged one"),
        (["weights=text.ckpt"], "weights=text.ckpt: no PyTorch checkpoint, or a damaged one"),
        (["ckpt_path=foreign.ckpt"], "ckpt_path=foreign.ckpt: not a checkpoint of a dotcom run"),
        (
            ["ckpt_path=base.ckpt"],
            "ckpt_path=base.ckpt: it holds model.variant=base, block=mv2, data.num_classes=100, ema=true, unlike "
            "these settings; add model=dotcom_base block=mv2 data=cifar100 ema=0.5, or use weights= to start",
        ),
        (["weights=base.ckpt"], "weights=base.ckpt: it holds model.variant=base, block=mv2, unlike these settings"),
        (["weights=5"], "weights=5: no such file"),
        (
            ["ckpt_path=boxes.ckpt"],
            "ckpt_path=boxes.ckpt: it holds task._target_=dotcom.tasks.Detection, unlike these settings; add "
            "data=fashion_boxes, or use weights= to start",
        ),
        (["fit=false"], "fit=false: expected ckpt_path="),
        (["weights=a", "ckpt_path=b"], "weights and ckpt_path: expected one"),
        (["ckpt_path=empty"], "ckpt_path=empty: a folder; expected a file, such as empty/last.ckpt"),
        (["ckpt_path=done.ckpt"], "ckpt_path=done.ckpt: it has 8 epochs already; set epochs=9 or more, or fit=false"),
        (
            ["ckpt_path=done.ckpt", "epochs=9", "optimizer=sgd"],
            "ckpt_path=done.ckpt: it was trained with torch.opt",
        ),
        (["image_size=100"], "image_size=100: expected a multiple of 32 above 0"),
        (["monitor=val/acc"], "monitor=val/acc: expected val/top1 | val/top5 | val/loss"),
        (["monitor=val_ema/top1"], "monitor=val_ema/top1: there is no moving average; add ema=0.999"),
        (["data=fashion_boxes", "monitor=val/top1"], "monitor=val/top1: expected val/map | val/map_50 | val/map_75"),
        (["data=fashion_boxes", "label_smoothing=0.1"], "label_smoothing: no such setting"),
        (["data=boxes"], "data.num_classes: no value; that choice is only a base for others"),
        (["output_dir=x"], "output_dir=x: choose the folder of a run with hydra.run.dir=x"),
        (["model=dotcom"], "model.variant: no value; that choice is only a base for others"),
        (["+foo=1"], "foo: no such setting"),
        (["++lr=0.1"], "lr: no such setting"),
        (["~logger"], "logger: expected a choice"),
        (["scheduler=null"], "a group cannot be null: expected group=choice"),
        (["optimizer=sgd", "optimizer.momentm=0.5"], "optimizer.momentm: no such setting; did you mean optimizer.mom"),
        (["data=image_folder", "data.root=~/photos"], "data.root=~/photos: expected key=value; quote special"),
        (["data=image_folder", "data.root=2012"], "data.root=2012: no such folder"),
        (["co_bias="], "co_bias=: expected true | false | first | second"),
        (["epochs"], "epochs: expected key=value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistake__is_one_line_without_torch(tmp_path, overrides, said):
    (tmp_path / "empty").mkdir()
    for path in ("train/a", "train/b", "val/a"):
        (tmp_path / "differ" / path).mkdir(parents=True)
        (tmp_path / "differ" / path / "1.jpg").touch()
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    torch.save({"weight": torch.zeros(2)}, tmp_path / "foreign.ckpt")
    save_run(tmp_path / "base.ckpt", "base", "cifar100", block="mv2", num_classes=100, ema=0.5)
    save_run(tmp_path / "done.ckpt", "tiny", "fashion", epoch=7)
    save_run(tmp_path / "boxes.ckpt", "tiny", "fashion_boxes", task="Detection")
    done = watched(tmp_path, *overrides)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "torch imported: False\n"


def save_run(path, variant, dataset, task="Classification", block="qib", num_classes=10, ema=None, epoch=-1) -> None:
    """A checkpoint with what a run of these settings leaves in it, but for its weights."""
    config = {
        "task": {"_target_": f"dotcom.tasks.{task}"},
        "model": {"_target_": "dotcom.models.DoTCoM.from_variant", "variant": variant},
        "data": {"num_classes": num_classes, "dataset": {"_target_": f"dotcom.data.{dataset}"}},
        "optimizer": {"_target_": "torch.optim.AdamW"},
    }
    config |= {"block": block, "co_bias": True, "ema": ema}
    torch.save({"config": config, "state_dict": {}, "epoch": epoch}, path)


def without_a_photo(folder) -> list[str]:
    root = make_coco(folder)
    (root / "train/002.jpg").unlink()
    return ["data=coco_format", f"data.root={root}"]


def one_level_too_deep(folder) -> list[str]:
    return ["data=voc", f"data.root={make_voc(folder) / 'VOC2012'}"]


def one_level_too_high(folder) -> list[str]:
    return ["data=voc_detection", f"data.root={make_voc(folder).parent}"]


def with_a_value_too_large(folder) -> list[str]:
    root = make_masks(folder)
    save_mask(root / "train/masks/1.png", 75, 100, (0, 1, 9))
    return ["data=image_masks", f"data.root={root}", "data.num_classes=3"]


@pytest.mark.parametrize(
    ("damaged", "said"),
    [
        (without_a_photo, ["train.json: 1 of 4 images are not in ", "/coco/train: 002.jpg; expected file_name"]),
        (
            one_level_too_deep,
            ["there is no VOC2012/ImageSets/Segmentation/", "; did you mean data.root=", "VOCdevkit?"],
        ),
        (
            one_level_too_high,
            ["it lacks VOC2007/ImageSets/Main/trainval.txt", "; did you mean data.root=", "VOCdevkit?"],
        ),
        (with_a_value_too_large, ["train/masks/1.png holds the value 9, but there are 3 classes; expected class"]),
    ],
)
def test_mistake_in_annotations__is_one_line_without_torch(tmp_path, monkeypatch, damaged, said):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    overrides = damaged(tmp_path)
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = watched(tmp_path, *overrides)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 2
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert [part for part in said if part not in done.stderr] == []
    assert done.stderr.count("\n") == 1
    assert done.stdout == "torch imported: False\n"


@pytest.mark.parametrize("flag", ["--help", "--cfg"])
def test_questions__are_answered_without_torch(tmp_path, flag):
    done = watched(tmp_path, flag, *(["job"] if flag == "--cfg" else []))
    assert done.returncode == 0
    assert "co_bias" in done.stdout
    assert done.stdout.endswith("torch imported: False\n")


@pytest.mark.parametrize("question", [["--help"], ["--cfg", "job"], ["co_bais=true"], ["epochs=abc"]])
def test_answer__costs_little_of_the_processor(tmp_path, question):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, str(REPO / "train.py"), *question], cwd=tmp_path, capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime - before.ru_utime < 2  # 0.4 on an idle machine; 7 with torch and Lightning


def test_checkpoint__is_looked_into_without_running_it(tmp_path):
    class Trap:
        def __reduce__(self):
            return open, (str(tmp_path / "sprung"), "w")

    torch.save({"config": {}, "state_dict": {}, "trap": Trap()}, tmp_path / "trap.ckpt")
    done = watched(tmp_path, "ckpt_path=trap.ckpt")
    assert "ckpt_path=trap.ckpt: it asks for io.open, which could run code" in done.stderr
    assert not (tmp_path / "sprung").exists()


def test_usage_error__anywhere_is_one_line(capsys):
    with pytest.raises(SystemExit, match="2"), one_line_errors():
        raise UsageError("data.root=x: gone")
    assert capsys.readouterr().err == "error: data.root=x: gone\n"


def test_bug__keeps_its_traceback():
    with pytest.raises(KeyError), one_line_errors():
        {}["missing"]
    with pytest.raises(ValueError, match="invalid literal"), one_line_errors():
        int("not ours")
