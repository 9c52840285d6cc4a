"""Histograms around Co-Bias: tensors as the network has them, numbers as SciPy has them, runs of every kind."""

import csv
from functools import partial
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from experiments.co_bias.activations import main
from experiments.co_bias.distributions import DRAWS, activations, dot_blocks, normalised, places, random_biases
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from matplotlib.image import imread
from omegaconf import OmegaConf
from scipy.stats import skew, wasserstein_distance

from dotcom.config import register_resolvers
from dotcom.data.checkpoint import data_of
from dotcom.errors import CONF, UsageError
from dotcom.models import Classifier

FAKED = ["hydra.run.dir=.", "run_name=test", "output_dir=."]  # what only a run knows


def save_run(folder: Path, *overrides: str) -> Path:
    """A checkpoint as a run leaves it, of a network whose Co-Bias has learnt something."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = OmegaConf.to_container(compose("config", overrides=[*FAKED, *overrides]), resolve=True)
    torch.manual_seed(0)
    network = instantiate(config["task"]["model"])
    give_bias(network)
    state = {f"model.{name}": value for name, value in network.state_dict().items()}
    torch.save({"config": config, "state_dict": state}, folder / "best.ckpt")
    return folder / "best.ckpt"


def give_bias(network: torch.nn.Module) -> None:
    for name, parameter in network.named_parameters():
        if ".bias_in." in name or ".bias_out." in name:
            torch.nn.init.normal_(parameter, 0.1, 0.3)


@pytest.fixture
def trained(classifier: Classifier) -> Classifier:
    give_bias(classifier)
    return classifier.eval()


def watch(module: torch.nn.Module, seen: list[torch.Tensor]) -> None:
    module.register_forward_hook(lambda _, given, result: seen.append(result))


def test_activations__are_what_the_network_hands_to_co_bias(trained: Classifier):
    after = {(name, site): [] for name in dot_blocks(trained) for site in ("bias_in", "bias_out")}
    for (name, site), seen in after.items():
        watch(getattr(dot_blocks(trained)[name], site), seen)
    before = activations(trained, [torch.rand(2, 3, 64, 64), torch.rand(1, 3, 64, 96)])
    assert list(before) == list(after)
    for (name, site), tensor in before.items():
        bias = getattr(dot_blocks(trained)[name], site).bias
        pixels = torch.cat([x.permute(0, 2, 3, 1).flatten(0, 2) for x in after[name, site]])
        torch.testing.assert_close((tensor + bias).float(), pixels)


def test_activations__leave_no_hook_behind(trained: Classifier):
    activations(trained, [torch.rand(1, 3, 64, 64)])
    assert not any(module._forward_hooks for module in trained.modules())


def test_normalised__is_what_the_first_attention_sees(trained: Classifier):
    seen: dict[str, list[torch.Tensor]] = {name: [] for name in dot_blocks(trained)}
    for name, block in dot_blocks(trained).items():
        torch.nn.init.normal_(block.attention[0].norm.weight)
        watch(block.attention[0].norm, seen[name])
    before = activations(trained, [torch.rand(2, 3, 64, 64)])
    for name, block in dot_blocks(trained).items():
        ours = normalised(block, "bias_in", before[name, "bias_in"] + block.bias_in.bias)
        torch.testing.assert_close(ours.float().flatten().sort()[0], seen[name][0].flatten().sort()[0])


def test_normalised__is_what_the_batch_norm_of_the_fusion_gives_in_training(trained: Classifier):
    for (name, site), x in activations(trained, [torch.rand(1, 3, 64, 64)]).items():
        if site == "bias_out":
            block = dot_blocks(trained)[name]
            fuse = torch.nn.Sequential(block.fuse[0], block.fuse[1]).double().train()
            torch.testing.assert_close(normalised(block, site, x), fuse(x[:, :, None, None])[:, :, 0, 0])


def test_numbers__are_those_of_scipy(trained: Classifier):
    before = activations(trained, [torch.rand(2, 3, 64, 64)])
    for place in places(trained, before):
        block, x = dot_blocks(trained)[place.block], before[place.block, place.site]
        bias = getattr(block, place.site).bias.detach().double()
        look = partial(normalised, block, place.site) if place.kind == "normalised" else torch.flatten
        old, new = (look(x + added).numpy().flatten() for added in (torch.zeros(()), bias))
        found = place.distributions[1]
        ours = (found.mean, found.variance, found.skewness, found.distance)
        assert ours == pytest.approx((new.mean(), new.var(), skew(new), wasserstein_distance(old, new)), abs=1e-9)
        shown = ((new >= place.edges[0]) & (new <= place.edges[-1])).mean()
        assert (found.density * np.diff(place.edges)).sum() == pytest.approx(shown)
        assert place.distributions[0].distance == 0
        assert len(place.controls) == DRAWS


def test_second_co_bias__is_gone_after_the_batch_norm_and_the_first_is_not(trained: Classifier):
    found = {}
    for place in places(trained, activations(trained, [torch.rand(2, 3, 64, 64)])):
        found.setdefault((place.site, place.kind), []).append(place.distributions[1].distance)
    assert max(found["bias_out", "normalised"]) < 1e-9
    assert all(min(found[key]) > 0.01 for key in found if key != ("bias_out", "normalised"))


def test_random_biases__have_the_size_of_the_learned_one_and_repeat():
    bias = torch.linspace(-0.1, 0.4, 48, dtype=torch.float64)
    drawn = random_biases(bias)
    assert drawn.shape == (DRAWS, 48)
    for one in drawn:
        for measure in (torch.mean, torch.std, torch.norm):
            torch.testing.assert_close(measure(one), measure(bias))
    assert len({tuple(one.tolist()) for one in drawn}) == DRAWS
    assert torch.equal(drawn, random_biases(bias))


@pytest.mark.parametrize("arm", ["true", "first", "second"])
def test_command__leaves_table_numbers_and_pictures_of_each_arm(tmp_path, capsys, arm):
    main([str(save_run(tmp_path, f"co_bias={arm}")), "--images", "3"])
    sites = {"true": ["bias_in", "bias_out"], "first": ["bias_in"], "second": ["bias_out"]}[arm]
    rows = list(csv.DictReader((tmp_path / "activations.csv").open()))
    assert len(rows) == 3 * len(sites) * 2 * (2 + DRAWS)
    assert {row["bias"] for row in rows} == set(sites)
    assert {row["block"] for row in rows} == {"stages.1.0.2", "stages.1.1.2", "stages.2.2"}
    said = capsys.readouterr().out
    assert f"test, co_bias={arm}, 3 validation images" in said
    markdown = (tmp_path / "activations.md").read_text()
    assert markdown.count("\n| stages.") == 3 * len(sites) * 2
    row = next(row for row in rows if row["what"] == "after")
    assert f"| {float(row['wasserstein_1']):.3g} " in markdown
    assert imread(tmp_path / "activations.png").shape[1] > 500 * len(sites)
    assert ElementTree.parse(tmp_path / "activations.svg").getroot().tag.endswith("svg")
    assert sorted(path.name for path in tmp_path.iterdir() if path.name != "best.ckpt") == [
        f"activations.{ending}" for ending in ("csv", "md", "png", "svg")
    ]


@pytest.mark.parametrize("data", ["fashion_boxes", "fashion_masks"])
def test_command__knows_the_networks_of_all_tasks(tmp_path, data):
    main([str(save_run(tmp_path, f"data={data}")), "--images", "2", "--out", str(tmp_path / "out")])
    assert len(list((tmp_path / "out").iterdir())) == 4


def test_command__finds_data_that_have_moved(tmp_path, photos, capsys):
    checkpoint = save_run(tmp_path, "data=image_folder", "image_size=64", f"data.root={photos}")
    moved = photos.rename(tmp_path / "elsewhere")
    with pytest.raises(UsageError, match=f"data.root={photos}: no such folder; say where the data are now with --root"):
        main([str(checkpoint)])
    main([str(checkpoint), "--root", str(moved)])
    assert "4 validation images" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["co_bias=false"], "a run of co_bias=false; expected one of co_bias=true, first or second"),
        (["model=mobilenetv2_100"], "a run of a network of timm; expected one of co_bias=true"),
    ],
)
def test_command__says_that_there_is_no_co_bias(tmp_path, overrides, said):
    with pytest.raises(UsageError, match=said):
        main([str(save_run(tmp_path, *overrides))])


def test_command__names_mistakes(tmp_path):
    with pytest.raises(UsageError, match=r"no such file; a run leaves best\.ckpt"):
        main([str(tmp_path / "best.ckpt")])
    with pytest.raises(UsageError, match="--images 0: expected a number above 0"):
        main(["best.ckpt", "--images", "0"])


@pytest.mark.parametrize("target", ["os.system", "dotcom.data.module.torch.load", "dotcom.data.__builtins__"])
def test_data__of_a_checkpoint_call_nothing_but_parts_of_ours(target):
    for data in ({"_target_": target}, {"_target_": "dotcom.data.DataModule", "dataset": [{"_target_": target}]}):
        with pytest.raises(ValueError, match=f"'{target}' is not a part of dotcom.data"):
            data_of({"data": data})


def test_data__of_a_checkpoint_are_a_data_module():
    with pytest.raises(ValueError, match=r"expected 'dotcom\.data\.DataModule', got 'dotcom\.data\.whole_masks'"):
        data_of({"data": {"_target_": "dotcom.data.whole_masks"}})
