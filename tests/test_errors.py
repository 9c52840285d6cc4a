"""A mistake on the command line is one line, exit code 2, before torch is imported; a bug keeps its traceback."""

import resource
import subprocess
import sys

import pytest
import torch

from conftest import REPO
from dotcom.errors import UsageError, one_line_errors

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
        (["model=dotcom_bse"], "model=dotcom_bse: expected dotcom_base | dotcom_large | dotcom_small | dotcom_tiny"),
        (["epochs=abc"], "epochs=abc: expected a whole number, such as the default"),
        (["optimizer.lr=fast"], "optimizer.lr=fast: expected a number, such as the default 0.002"),
        (["block=resnet"], "block=resnet: expected basic | mv2 | qg | qib"),
        (["data=imagenet", "data.root=nowhere"], "data.root=nowhere: no such folder; expected ROOT/train/<class>/"),
        (["data=image_folder", "data.root=empty"], "data.root=empty: there is no folder train in it; expected ROOT/"),
        (["data=image_folder", "data.root=differ"], "data.root=differ: 1 classes are in train but not in val: b"),
        (["ckpt_path=none.ckpt"], "ckpt_path=none.ckpt: no such file"),
        (["ckpt_path=text.ckpt"], "ckpt_path=text.ckpt: no PyTorch checkpoint (1.6 or newer), or a damaged one"),
        (["weights=text.ckpt"], "weights=text.ckpt: no PyTorch checkpoint (1.6 or newer), or a damaged one"),
        (["ckpt_path=foreign.ckpt"], "ckpt_path=foreign.ckpt: not a checkpoint of a dotcom run"),
        (
            ["ckpt_path=base.ckpt"],
            "ckpt_path=base.ckpt: it holds model.variant=base, block=mv2, data.num_classes=100, ema=true, unlike "
            "these settings; add model=dotcom_base block=mv2 data=cifar100 ema=0.5, or use weights= to start",
        ),
        (["weights=base.ckpt"], "weights=base.ckpt: it holds model.variant=base, block=mv2, unlike these settings"),
        (["weights=5"], "weights=5: no such file"),
        (["fit=false"], "fit=false: expected ckpt_path="),
        (["weights=a", "ckpt_path=b"], "weights and ckpt_path: expected one"),
        (["ckpt_path=empty"], "ckpt_path=empty: a folder; expected a file, such as empty/last.ckpt"),
        (["ckpt_path=done.ckpt"], "ckpt_path=done.ckpt: it has 8 epochs already; set epochs above 8, or fit=false"),
        (
            ["ckpt_path=done.ckpt", "epochs=9", "optimizer=sgd"],
            "ckpt_path=done.ckpt: it was trained with torch.opt",
        ),
        (["image_size=100"], "image_size=100: expected a multiple of 32 above 0"),
        (["monitor=val/acc"], "monitor=val/acc: expected val/top1 | val/top5 | val/loss"),
        (["monitor=val_ema/top1"], "monitor=val_ema/top1: there is no moving average; add ema=0.999"),
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
    dataset = {"_target_": "dotcom.data.cifar100"}
    saved = {"model": {"variant": "base"}, "data": {"num_classes": 100, "dataset": dataset}, "ema": 0.5}
    saved |= {"block": "mv2", "co_bias": True}
    torch.save({"config": saved, "state_dict": {}}, tmp_path / "base.ckpt")
    saved = {"model": {"variant": "tiny"}, "block": "qib", "co_bias": True, "ema": None, "data": {"num_classes": 10}}
    saved |= {"optimizer": {"_target_": "torch.optim.AdamW"}}
    torch.save({"config": saved, "state_dict": {}, "epoch": 7}, tmp_path / "done.ckpt")
    done = watched(tmp_path, *overrides)
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {said}")
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
    assert "ckpt_path=trap.ckpt: it holds model.variant=null" in done.stderr
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
