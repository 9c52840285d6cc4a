"""``dotcom export``: a checkpoint in, checked files out; mistakes are answered before anything heavy is imported."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf

from dotcom.cli import main
from dotcom.cli.export import chosen, number
from dotcom.config import register_resolvers
from dotcom.deploy import export as exporting
from dotcom.deploy import formats
from dotcom.errors import CONF, UsageError
from dotcom.models import from_checkpoint

FAKED = ["hydra.run.dir=.", "run_name=test", "output_dir=.", "image_size=32"]


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory) -> Path:
    """A real checkpoint of the smallest published network on the embedded photos, untrained."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*FAKED, "data=fashion", "model=dotcom_tiny"])
    config = OmegaConf.to_container(cfg, resolve=True)
    torch.manual_seed(0)
    network = instantiate(config["task"]["model"])
    network(torch.randn(4, 3, 32, 32))  # batch norm sees some data
    weights = {f"model.{name}": value for name, value in network.state_dict().items()}
    path = tmp_path_factory.mktemp("run") / "best.ckpt"
    classes = [f"class {number}" for number in range(10)]
    torch.save({"config": config, "state_dict": weights, "classes": classes}, path)
    return path


def answer(capsys, *arguments: str) -> str:
    """The one line on stderr of a call that is a mistake."""
    with pytest.raises(SystemExit) as stopped:
        main(["export", *map(str, arguments)])
    assert stopped.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_checkpoint__becomes_a_file_and_a_card_beside_its_run(checkpoint, capsys):
    assert main(["export", str(checkpoint), "--to", "torch", "--images", "4"]) == 0
    out = capsys.readouterr().out
    assert f"to {checkpoint.parent / 'export'}" in out
    assert "torch: test-32.pt2" in out
    assert "on 4 images" in out
    card = json.loads((checkpoint.parent / "export" / "test-32.pt2.json").read_text())
    assert card["fidelity"]["difference"] < 1e-3
    assert formats.of_file(checkpoint.parent / "export" / "test-32.pt2") == "torch"


def test_failing_format__does_not_stop_the_others(checkpoint, tmp_path, capsys, monkeypatch):
    def broken(graph, path):
        raise RuntimeError("the converter\nfell over")

    torch_format = formats.module("torch")
    monkeypatch.setattr(formats.module("onnx"), "write", broken)
    monkeypatch.setattr(formats, "absent", lambda modules: [])
    monkeypatch.setattr(torch_format, "write", lambda graph, path: path.write_bytes(b"") and None)
    network = from_checkpoint(checkpoint)
    run = torch.inference_mode()(lambda images: {"logits": network(torch.from_numpy(images)).numpy()})
    monkeypatch.setattr(torch_format, "load", lambda path: run)
    out = tmp_path / "new" / "out"
    assert main(["export", str(checkpoint), "--to", "onnx,torch", "--images", "2", "--out", str(out)]) == 1
    printed, err = capsys.readouterr()
    assert err.splitlines() == ["onnx: RuntimeError: the converter fell over", "1 of 2 formats failed: onnx"]
    assert "torch: test-32.pt2" in printed
    assert {file.name for file in out.iterdir()} == {"test-32.pt2", "test-32.pt2.json"}


def test_wrong_export__is_deleted_and_the_exit_code_says_so(checkpoint, tmp_path, capsys, monkeypatch):
    right = exporting.deployed

    def wrong(*arguments):
        graph = right(*arguments)
        graph.network.head.weight.data *= 1.1
        return graph

    monkeypatch.setattr(exporting, "deployed", wrong)
    assert main(["export", str(checkpoint), "--to", "torch", "--images", "2", "--out", str(tmp_path)]) == 1
    assert "torch: deleted, because the file differs by" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_format__that_does_not_exist_is_answered_with_the_nearest(checkpoint, capsys):
    line = answer(capsys, checkpoint, "--to", "onx")
    assert line.startswith("error: --to onx: expected some of onnx, executorch,")
    assert line.endswith("did you mean onnx?")


def test_missing_extra__is_one_line_with_the_command(checkpoint, capsys, monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    line = answer(capsys, checkpoint, "--to", "torch,litert")
    assert line == "error: --to litert needs litert-torch: pip install 'dotcom[litert]'"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--size", "100"], "--size=100: expected a multiple of 32, such as 96"),
        (["--size", "big"], "--size=big: expected a whole number above 0"),
        (["--size", "-32"], "--size=-32: expected a whole number above 0"),
        (["--images", "0"], "--images=0: expected a whole number above 0"),
        (["--images", "1.5"], "--images=1.5: expected a whole number above 0"),
        (["--int8"], "--int8: not for torch"),
        (["data.rot=x"], "data.rot: the data of this checkpoint have no such setting; did you mean data.root?"),
    ],
)
def test_option__out_of_range_is_named(checkpoint, capsys, options, said):
    assert said in answer(capsys, checkpoint, *options, "--to", "torch")


def test_checkpoint__that_is_none_is_named(tmp_path, capsys):
    assert "no such file" in answer(capsys, tmp_path / "gone.ckpt", "--to", "torch")
    (tmp_path / "text.ckpt").write_text("no checkpoint")
    assert "no PyTorch checkpoint" in answer(capsys, tmp_path / "text.ckpt", "--to", "torch")
    torch.save({"weights": 1}, tmp_path / "other.ckpt")
    assert "not a checkpoint of a dotcom run" in answer(capsys, tmp_path / "other.ckpt", "--to", "torch")


def test_weights__that_are_truncated_are_named(checkpoint, tmp_path, capsys):
    saved = torch.load(checkpoint, weights_only=True)
    saved["state_dict"].popitem()
    torch.save(saved, tmp_path / "best.ckpt")
    assert "best.ckpt: its weights cannot be loaded" in answer(capsys, tmp_path / "best.ckpt", "--to", "torch")


def test_folder__that_cannot_be_written_is_named(checkpoint, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    line = answer(capsys, checkpoint, "--to", "torch", "--out", tmp_path / "file" / "out")
    assert line.startswith(f"error: --out={tmp_path / 'file' / 'out'}: ")


def test_formats__are_taken_once_in_their_order():
    assert chosen("torch, onnx,torch,") == ["torch", "onnx"]
    with pytest.raises(UsageError, match="--to: expected some of"):
        chosen(" , ")
    assert number("--size", "64") == 64


def test_mistake__is_answered_without_torch(checkpoint):
    code = (
        "import sys; from dotcom.cli import main\n"
        f"try: main(['export', {str(checkpoint)!r}, '--to', 'torch', '--size', '33'])\n"
        "except SystemExit: print([m for m in ('torch', 'lightning', 'torchvision') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]", done.stderr
