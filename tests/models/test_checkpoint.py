"""A network comes back from its checkpoint alone, whichever it is, and a checkpoint can have nothing else called."""

from pathlib import Path
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from torch import nn

from dotcom.config import register_resolvers
from dotcom.errors import CONF
from dotcom.models import Classifier, Detector, Segmenter, from_checkpoint

FAKED = ["hydra.run.dir=.", "run_name=test", "output_dir=."]  # what only a run knows
TINY = ["model=dotcom_tiny", "block=mv2", "co_bias=first"]
PEER = ["model=timm", "name=mobilenetv2_100"]
HEAD = ["head=mobilevit", "separable=true", "auxiliary=true"]
CASES = {
    "classifier": (Classifier, ["data=fashion", *TINY]),
    "classifier of timm": (Classifier, ["data=fashion", *PEER]),
    "classifier of one size": (Classifier, ["data=fashion", "model=deit_tiny", "image_size=96"]),
    "detector": (Detector, ["data=fashion_boxes", "loss=focal", *TINY]),
    "detector of timm": (Detector, ["data=fashion_boxes", *PEER]),
    "segmenter": (Segmenter, ["data=fashion_masks", *HEAD, *TINY]),
    "classifier of edgevit": (Classifier, ["data=fashion", "model=edgevit_xxs"]),
    "segmenter of fat": (Segmenter, ["data=fashion_masks", "model=fat_b0"]),
    "segmenter of timm": (Segmenter, ["data=fashion_masks", *PEER]),
}


def settings(*overrides: str) -> dict[str, Any]:
    """``task.model`` of a run, as its checkpoint holds it."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*FAKED, *overrides])
    return OmegaConf.to_container(cfg.task.model, resolve=True)


def save(path: Path, model: dict[str, Any], weights: dict[str, torch.Tensor]) -> Path:
    torch.save({"config": {"task": {"model": model}}, "state_dict": weights}, path)
    return path


def named(network: nn.Module, prefix: str = "model.", plus: float = 0.0) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": value + plus for name, value in network.state_dict().items()}


@pytest.mark.parametrize("case", CASES)
@torch.no_grad()
def test_network__comes_back_as_it_was(case, tmp_path):
    kind, overrides = CASES[case]
    model = settings(*overrides)
    network = instantiate(model)
    network(torch.rand(2, 3, 96, 96))  # batch norm sees some data
    again = from_checkpoint(save(tmp_path / "best.ckpt", model, named(network)))
    assert type(again) is kind
    assert not again.training
    assert again.state_dict().keys() == network.state_dict().keys()
    images = torch.rand(2, 3, 96, 96)
    torch.testing.assert_close(again(images), network.eval()(images), rtol=0, atol=0)
    assert getattr(again, "loss", None) == getattr(network, "loss", None)


@pytest.mark.parametrize(("ema", "plus"), [(True, 1), (False, 0)])
def test_average__is_taken_if_there_is_one_and_nobody_says_no(tmp_path, ema, plus):
    model = settings(*CASES["detector"][1])
    network = instantiate(model)
    path = save(tmp_path / "best.ckpt", model, named(network) | named(network, "ema.module.", plus=1))
    again = from_checkpoint(path, ema=ema).state_dict()
    assert all(torch.equal(again[name], value + plus) for name, value in network.state_dict().items())


def test_weights__that_the_run_started_from_are_not_needed(tmp_path, monkeypatch):
    model = settings(*CASES["segmenter of timm"][1])
    network = instantiate(model)
    model["weights"] = str(tmp_path / "gone.ckpt")
    model["backbone"]["pretrained"] = True
    monkeypatch.setattr("timm.models._builder.load_pretrained", None)  # would be called
    again = from_checkpoint(save(tmp_path / "best.ckpt", model, named(network)))
    assert torch.equal(again.classifier.weight, network.classifier.weight)


def test_file__of_another_kind_is_refused(tmp_path):
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match=r"other\.pt is not a checkpoint of a dotcom run"):
        from_checkpoint(tmp_path / "other.pt")


def test_network__of_an_unknown_name_is_refused(tmp_path):
    path = save(tmp_path / "best.ckpt", settings(*CASES["detector"][1]) | {"_target_": "os.system"}, {})
    with pytest.raises(ValueError, match=r"names the network 'os\.system', expected one of .*dotcom\.models\.Detector"):
        from_checkpoint(path)


def test_backbone__of_an_unknown_name_is_refused(tmp_path):
    model = settings(*CASES["detector"][1])
    model["backbone"]["_target_"] = "os.system"
    with pytest.raises(ValueError, match=r"os\.system"):
        from_checkpoint(save(tmp_path / "best.ckpt", model, {}))


def test_weights__of_another_network_are_refused(tmp_path, classifier):
    path = save(tmp_path / "best.ckpt", settings(*CASES["detector"][1]), named(classifier))
    with pytest.raises(ValueError, match=r"best\.ckpt: its weights cannot be loaded; .*Missing key"):
        from_checkpoint(path)


def test_code_in_a_checkpoint__is_refused_without_advice_to_run_it(tmp_path):
    torch.save({"config": {}, "state_dict": {}, "more": print}, tmp_path / "best.ckpt")
    with pytest.raises(ValueError, match=r"best\.ckpt: it asks for builtins\.print, which could run code"):
        from_checkpoint(tmp_path / "best.ckpt")
