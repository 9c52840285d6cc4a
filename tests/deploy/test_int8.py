"""Int8 files are as accurate as asked for, with the fewest layers in float32, or not there at all."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dotcom.deploy import export, formats, int8
from dotcom.deploy.formats import Runner
from dotcom.deploy.graph import Graph
from dotcom.deploy.int8 import layers, ranking, search
from dotcom.deploy.int8.draft import Draft
from dotcom.deploy.samples import Sample
from dotcom.errors import UsageError
from dotcom.models.cost import parameters

SIZE = 16
SENSITIVE = "third"
RUN_HERE = ("onnx", "openvino", pytest.param("executorch", marks=pytest.mark.slow))  # compiles for a while

Judge = Callable[[Runner], float]


class Fragile(nn.Module):
    """Six layers, one of which int8 ruins: two large weights per channel meet equal inputs and cancel.

    They stretch the range of the weights until the others, which do the work, round to nothing. Its inputs and
    outputs are harmless, so that its neighbours are, too.
    """

    def __init__(self, large: float = 1e3) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, padding=1)
        self.second = nn.Conv2d(8, 8, 1)
        self.third = nn.Conv2d(8, 8, 1)
        self.fourth = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.fifth = nn.Linear(8, 1024)
        self.head = nn.Linear(1024, 32)
        with torch.no_grad():
            self.second.weight[1], self.second.bias[1] = self.second.weight[0], self.second.bias[0]
            self.third.weight[:, 0], self.third.weight[:, 1] = large, -large

    def forward(self, images: Tensor) -> Tensor:
        x = nn.functional.silu(self.first(images))
        x = self.fourth(nn.functional.silu(self.third(nn.functional.silu(self.second(x)))))
        return self.head(nn.functional.silu(self.fifth(x.mean((2, 3)))))


def made(seed: int = 0) -> Graph:
    torch.manual_seed(seed)
    return Graph(Fragile().eval().requires_grad_(False), SIZE)


def images(count: int, seed: int) -> list[np.ndarray[Any, Any]]:
    """Noise around a colour of each image's own, by which the outputs differ."""
    rng = np.random.default_rng(seed)
    colours = 2 * rng.standard_normal((count, 1, 3, 1, 1), dtype=np.float32)
    return [colour + rng.standard_normal((1, 3, SIZE, SIZE), dtype=np.float32) for colour in colours]


def agreement(graph: Graph) -> Judge:
    """One, less the mean error of a runner's logits relative to how much they vary, on images of its own."""
    judged = images(16, seed=1)
    expected = [graph(torch.from_numpy(image))[0].numpy() for image in judged]
    scale = float(np.concatenate(expected).std(axis=0).mean())

    def judge(run: Runner) -> float:
        found = [run(image)["logits"] for image in judged]
        return 1 - float(np.abs(np.concatenate(found) - np.concatenate(expected)).mean()) / scale

    return judge


def test_layers__are_found_by_their_weights_however_these_lie():
    graph = made()
    found = layers.layers_of(layers.traced(graph))
    assert [layer.name for layer in found] == ["first", "second", "third", "fourth", "fifth", "head"]
    assert len({layer.key for layer in found}) == 6
    weight = graph.network.get_submodule("fifth").weight
    assert layers.key_of(weight.T.reshape(4, -1).numpy()) == found[4].key
    assert layers.key_of(weight.numpy() + 1e-3) != found[4].key


def test_ranking__puts_the_fragile_layer_first_by_far_and_leaves_the_network_alone():
    graph = made()
    before = {name: value.clone() for name, value in graph.state_dict().items()}
    module = layers.traced(graph)
    ranked = ranking.Rehearsal(module, layers.layers_of(module), images(4, seed=0)).ranked()
    assert ranked[0][0].name == SENSITIVE
    assert ranked[0][1] + 10 < ranked[1][1]
    assert all(torch.equal(value, before[name]) for name, value in graph.state_dict().items())


def test_ranking__measures_what_a_whole_run_with_that_layer_in_int8_gives():
    graph, (image,) = made(), images(1, seed=0)
    module = layers.traced(graph)
    rehearsal = ranking.Rehearsal(module, layers.layers_of(module), [image])
    head, decibels = next(pair for pair in rehearsal.ranked() if pair[0].name == "head")
    network = graph.network
    inputs: list[Tensor] = []
    network.get_submodule("head").register_forward_pre_hook(lambda _, args: inputs.append(args[0]))
    expected = graph(torch.from_numpy(image))[0]
    x = inputs[0]
    x = ranking.quantised_activation(x, min(0, float(x.min())), max(0, float(x.max())))
    y = nn.functional.linear(x, ranking.quantised_weight(head.weight), network.get_submodule("head").bias)
    y = ranking.quantised_activation(y, min(0, float(expected.min())), max(0, float(expected.max())))
    assert decibels == pytest.approx(float(10 * torch.log10(expected.square().sum() / (expected - y).square().sum())))


def test_quantised__steps_are_one_127th_per_channel_and_one_255th_of_the_range():
    weight = torch.tensor([[1.0, 0.5, -0.25], [127.0, 1.4, -3.0]])
    steps = torch.tensor([[1 / 127], [1.0]])
    assert torch.allclose(ranking.quantised_weight(weight), (weight / steps).round() * steps)
    x = torch.linspace(-1, 4, 11)
    assert (ranking.quantised_activation(x, -1.0, 4.0) - x).abs().max() <= 5 / 255 / 2 + 1e-6
    assert ranking.quantised_activation(torch.tensor([9.0, 0.0]), -1.0, 4.0).tolist() == pytest.approx([4, 0], abs=0.01)


@pytest.mark.parametrize("needed", range(9))
def test_fewest__finds_the_smallest_number_that_suffices(needed):
    tried: list[int] = []
    found = search.fewest(lambda count: tried.append(count) or float(count >= needed), 1.0, 0, 8)
    assert found == needed
    assert len(set(tried)) == len(tried) <= 7


def test_fewest__gives_up_at_the_most():
    assert search.fewest(lambda count: 0.0, 1.0, 0, 8) is None
    assert search.fewest(lambda count: 0.0, 1.0, 0, 0) is None


@pytest.mark.parametrize("name", RUN_HERE)
def test_write__keeps_exactly_the_fragile_layer_in_float(name, tmp_path):
    skip_without(name)
    graph = made()
    path = tmp_path / f"int8{formats.module(name).SUFFIX}"
    facts = int8.write(name, graph, path, images(16, seed=0), agreement(graph), floor=0.7)
    assert facts["float_layers"] == [SENSITIVE]
    assert facts["quantised"] == 5
    assert facts["judged"] == "file"
    assert facts["float_score"] == pytest.approx(1, abs=1e-4)
    assert facts["score"] >= 0.7
    assert facts["sqnr_db"] > 15
    run = formats.module(name).load(path, 1)
    assert agreement(graph)(run) == pytest.approx(facts["score"], abs=1e-6)
    assert size(path) < 0.6 * 4 * parameters(graph)  # those of the fragile layer and all biases are float32
    assert sorted(tmp_path.iterdir()) == sorted(tmp_path.glob("int8*"))


def test_write__leaves_no_file_and_says_so_if_the_floor_is_out_of_reach(tmp_path):
    skip_without("onnx")
    graph = made()
    expected = r"int8.onnx: int8 scores 0\.\d+ with 3 of 6 layers in float32, where 0.9990 is asked for"
    with pytest.raises(UsageError, match=expected):
        int8.write("onnx", graph, tmp_path / "int8.onnx", images(16, seed=0), agreement(graph), floor=0.999)
    assert not list(tmp_path.iterdir())


def test_search__goes_on_if_the_file_is_worse_than_its_draft(tmp_path):
    class Quantiser:
        selective = True

        def draft(self, kept):
            return Draft(lambda image: {"score": 0.95}, lambda path: path.write_text(str(len(kept))))

    def load(path: Path) -> Runner:
        score = 0.8 + 0.06 * int(path.read_text())
        return lambda image: {"score": score}

    module = layers.traced(made())
    rehearsal = ranking.Rehearsal(module, layers.layers_of(module), images(1, seed=0))
    searched = search.Search(Quantiser(), rehearsal, lambda run: run(None)["score"])
    count, score, _ = searched.write(tmp_path / "file", load, floor=0.9)
    assert (count, score) == (2, pytest.approx(0.92))
    assert (tmp_path / "file").read_text() == "2"


def test_write__says_that_the_float_network_is_not_good_enough_either(tmp_path):
    graph = made()
    with pytest.raises(UsageError, match=r"int8.onnx: the float32 network itself scores 0.5000, below 0.6000"):
        int8.write("onnx", graph, tmp_path / "int8.onnx", images(1, 0), lambda run: 0.5, floor=0.6)


def test_write__takes_the_ranges_of_activations_from_the_calibration_images_alone(tmp_path):
    skip_without("onnx")
    graph = made()
    dim = [0.05 * image for image in images(16, seed=0)]  # a network calibrated on these clips brighter ones
    with pytest.raises(UsageError, match="no file was written"):
        int8.write("onnx", graph, tmp_path / "int8.onnx", dim, agreement(graph), floor=0.7)
    with pytest.raises(UsageError, match=r"int8.onnx: int8 needs images to calibrate on"):
        int8.write("onnx", graph, tmp_path / "int8.onnx", [], agreement(graph), floor=0.7)


@pytest.mark.parametrize(
    ("available", "asked", "judged", "calibrated"),
    [(9, 3, 3, 2), (5, 3, 3, 2), (5, 4, 3, 2), (4, 9, 2, 2), (3, 9, 2, 1), (2, 9, 1, 1), (1, 9, 1, 0)],
)
def test_source__judges_on_images_that_did_not_calibrate(monkeypatch, available, asked, judged, calibrated):
    """Of what ``dotcom export`` and ``experiments.int8`` give to ``write``, also where there are few."""
    all_of_them = [Sample(image, label) for label, image in enumerate(images(available, seed=0))]
    monkeypatch.setattr(export, "samples", lambda data, task, size, count, classes: all_of_them[:count])
    monkeypatch.setattr(export, "CALIBRATION", 2)
    source = export.Source.__new__(export.Source)
    source.run, source.data, source.image_size = SimpleNamespace(task="Classification", classes=["a"]), {}, SIZE
    source.images, source.int8 = asked, True
    assert len(source.checked_on) == judged
    assert len(source.calibration) == calibrated
    assert not {id(sample.image) for sample in source.checked_on} & set(map(id, source.calibration))


def test_lowest__is_a_point_below_and_of_a_small_score_a_tenth():
    assert int8.lowest(0.8) == pytest.approx(0.79)
    assert int8.lowest(0.05) == pytest.approx(0.045)
    assert int8.lowest(0.0) == 0.0
    assert int8.lowest(0.004) > 0  # a file that finds nothing does not pass


def test_card__tells_how_many_images_calibrated_and_how_many_judged(monkeypatch, tmp_path):
    asked: dict[str, Any] = {}

    def written(name, graph, path, calibration, judge, floor):
        asked.update(calibration=calibration, floor=floor)
        return {"score": 1.0}

    monkeypatch.setattr(int8, "write", written)
    judge = SimpleNamespace(published=None)
    monkeypatch.setattr(export, "scored", lambda judge, run, samples: 0.05)
    drawn = [Sample(image, 0) for image in images(5, seed=0)]
    source = SimpleNamespace(
        int8=True, network=None, judge=judge, graph=lambda name: None, checked_on=drawn[:3], calibration=drawn[3:]
    )
    said = export.write("onnx", source, tmp_path / "a.onnx")
    assert said == {"score": 1.0, "images": {"calibrated": 2, "judged": 3}}
    assert asked == {"calibration": drawn[3:], "floor": pytest.approx(0.045)}


def test_coreml__writes_int8_weights_and_judges_a_simulation(tmp_path):
    skip_without("coreml")
    if formats.unrunnable("coreml") is None:
        pytest.skip("this machine can run Core ML, so the file itself is judged")
    graph = made()
    before = graph(torch.from_numpy(images(1, seed=2)[0]))[0]
    path = tmp_path / "int8.mlpackage"
    facts = int8.write("coreml", graph, path, images(1, seed=0), agreement(graph), floor=0.1)
    assert facts["judged"] == "simulation"
    assert facts["float_layers"] == []
    assert facts["score"] < 0.9 < facts["float_score"]
    content = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
    assert content < 1.5 * parameters(graph) + 10_000
    assert torch.equal(graph(torch.from_numpy(images(1, seed=2)[0]))[0], before)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torch", "--int8: not for torch; expected one of onnx, executorch, openvino, litert, coreml"),
        ("onx", "--int8: not for onx; .*; did you mean onnx?"),
    ],
)
def test_require__names_the_formats(name, message):
    with pytest.raises(UsageError, match=message.replace("?", r"\?")):
        int8.require(name)


def test_require__names_the_command_that_installs_what_is_missing(monkeypatch):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    with pytest.raises(
        UsageError, match=r"^int8 for executorch needs executorch, torchao: pip install 'dotcom\[executorch\]'$"
    ):
        int8.require("executorch")


def skip_without(name: str) -> None:
    if gone := formats.absent(int8.needed(name)):
        pytest.skip(f"int8 for {name} needs {', '.join(gone)}")


def size(path: Path) -> int:
    """Of a file, or of the one beside it that has the weights, in bytes."""
    beside = path.with_suffix(".bin")
    return (beside if beside.exists() else path).stat().st_size
