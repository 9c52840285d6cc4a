"""``dotcom export --to timm``: a folder from which timm makes the network of a run, and which starts other runs."""

import json

import pytest
import timm
import torch

from dotcom.checkpoint import check_files
from dotcom.cli import main
from dotcom.deploy.formats import timm as folder_of_timm
from dotcom.errors import UsageError
from dotcom.inference.saved_run import SavedRun
from dotcom.models import Classifier, DoTCoM, TimmBackbone, from_checkpoint, load_weights
from dotcom.safetensors import check_safetensors
from saved_runs import root_of


def images(size: int = 64) -> torch.Tensor:
    return torch.randn(1, 3, size, size, generator=torch.Generator().manual_seed(0))


def test_folder__gives_timm_the_network_of_the_run(checkpoints, tmp_path, capsys):
    path = checkpoints("classification")
    assert main(["export", str(path), "--to", "timm", "--images", "2", "--out", str(tmp_path), root_of(path)]) == 0
    assert "difference 0.0e+00 of the spread" in capsys.readouterr().out
    (folder,) = tmp_path.glob("*.timm")
    assert {file.name for file in folder.iterdir()} == {"config.json", "model.safetensors"}
    assert len({file.stat().st_mode for file in folder.iterdir()}) == 1  # who may read one may read both
    config = json.loads((folder / "config.json").read_text())
    assert config["label_names"] == ["dark", "light"]
    assert config["model_args"]["block"] == "mv2"
    assert json.loads((tmp_path / f"{folder.name}.json").read_text())["fidelity"]["difference"] == 0
    ours, source = from_checkpoint(path), f"local-dir:{folder}"
    theirs = timm.create_model(source, pretrained=True).eval()
    with torch.no_grad():
        assert torch.equal(theirs(images()), ours(images()))
    assert theirs.pretrained_cfg["input_size"][1:] == (64, 64)
    assert not torch.equal(timm.create_model(source).head.weight, ours.head.weight)  # as timm has it: the shape alone
    maps = timm.create_model(source, pretrained=True, features_only=True).eval()
    with torch.no_grad():
        assert torch.equal(maps(images())[-1], ours.backbone(images())[-1])
    again = Classifier(DoTCoM.from_variant("tiny", block="mv2"), 2)
    check_safetensors("weights", folder / "model.safetensors")
    load_weights(again, folder / "model.safetensors")
    assert all(map(torch.equal, again.parameters(), ours.parameters()))


@pytest.mark.parametrize("name", ["test_resnet", "repvit_m0_9", "crossvit_9_240"])
def test_folder__of_a_peer_is_timms_own_network(name, tmp_path):
    network = Classifier(TimmBackbone(name, pyramid=False), 3).eval()
    config = {"task": {"model": {"backbone": {"_target_": "dotcom.models.TimmBackbone"}}}}
    run = SavedRun(tmp_path / "best.ckpt", config, ["a", "b", "c"], "Classification")
    size = 240 if "240" in name else 64
    preprocessing = {"size": size, "resize": size * 9 // 8, "mean": [0.5] * 3, "std": [0.25] * 3}
    preprocessing["interpolation"] = "bilinear, antialiased"
    folder_of_timm.suits(run)
    folder_of_timm.write(network, run, preprocessing, tmp_path / "net.timm")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'net.timm'}", pretrained=True)
    assert loaded.pretrained_cfg["label_names"] == ["a", "b", "c"]
    found = folder_of_timm.load(tmp_path / "net.timm")(images(size).numpy())["logits"]
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(found), network(images(size)), atol=1e-5, rtol=1e-4)
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(loaded))
    assert transform.transforms[0].size == size * 9 // 8
    again = Classifier(TimmBackbone(name, pyramid=False), 3)
    torch.nn.init.zeros_(next(again.backbone.parameters()))
    load_weights(again, tmp_path / "net.timm" / "model.safetensors")
    assert all(map(torch.equal, again.backbone.parameters(), network.backbone.parameters()))


def test_folder__is_for_classifiers_that_timm_knows(checkpoints, refused, tmp_path):
    line = refused("export", checkpoints("detection"), "--to", "timm", "--out", tmp_path)
    assert "best.ckpt is of Detection, and timm classifies; expected a classifier's" in line
    saved = torch.load(checkpoints("classification"), weights_only=True)
    saved["config"]["task"]["model"]["backbone"]["_target_"] = "dotcom.models.EdgeViT.from_variant"
    torch.save(saved, tmp_path / "edgevit.ckpt")
    line = refused("export", tmp_path / "edgevit.ckpt", "--to", "timm", "--out", tmp_path)
    assert "is of EdgeViT, which timm lacks; expected DoTCoM or model=timm" in line


def test_safetensors__that_are_none_are_named(tmp_path):
    with pytest.raises(UsageError, match=r"weights=.*gone.safetensors: no such file; dotcom export --to timm writes"):
        check_safetensors("weights", tmp_path / "gone.safetensors")
    for content in (b"", b"no tensors, but enough of them", b"\2\0\0\0\0\0\0\0{}"):
        (tmp_path / "bad").write_bytes(content)
        with pytest.raises(UsageError, match="bad: no safetensors file, or a damaged one"):
            check_safetensors("weights", tmp_path / "bad")


def test_weights__of_timm_are_looked_at_before_a_run(tmp_path):
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "model.safetensors").write_bytes(b"")
    settings = {"fit": True, "ckpt_path": None, "resume": False, "output_dir": str(tmp_path)}
    for name, said in (
        ("net", r"a folder; expected a file, such as .*/net/model\.safetensors"),
        ("a.safetensors", "no such"),
    ):
        with pytest.raises(UsageError, match=rf"weights=.*: {said}"):
            check_files(settings | {"weights": str(tmp_path / name)})
