"""A file is put in its place only if it computes what the network computes; the card says what it is."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dotcom.config import register_resolvers
from dotcom.deploy import export as exporting
from dotcom.deploy import formats
from dotcom.deploy.agreement import judge_of, matches
from dotcom.deploy.export import RejectedError, Source, export
from dotcom.deploy.samples import samples
from dotcom.deploy.verify import TOLERANCES, Fidelity, compare
from dotcom.errors import CONF, UsageError
from dotcom.inference.saved_run import SavedRun
from dotcom.models import Classifier, Detector, DoTCoM, DoTCoMConfig, Segmenter

TINY = DoTCoMConfig(stem=8, early=(8, 8), inner=(16, 16, 16), outer=(16, 16, 16), last=16, depths=(1, 1, 1))
TASKS = {
    "Classification": ("fashion", lambda: Classifier(DoTCoM(TINY), num_classes=10)),
    "Detection": ("fashion_boxes", lambda: Detector(DoTCoM(TINY), num_classes=10, extra_channels=[16])),
    "Segmentation": ("fashion_masks", lambda: Segmenter(DoTCoM(TINY), num_classes=11, head="mobilevit")),
}
FAKED = ["hydra.run.dir=.", "run_name=a/b c", "output_dir=."]  # what only a run knows


def network_of(task: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = TASKS[task][1]()
    for _ in range(3):
        network(torch.randn(4, 3, 64, 64))  # batch norm sees some data
    for parameter in network.parameters():
        parameter.data += 0.05 * torch.randn_like(parameter)  # far from the even outputs of a beginning
    return network.eval()


def source_of(task: str, folder: Path, monkeypatch, images: int = 4, int8: bool = False) -> Source:
    """A checkpoint whose weights are those of ``network_of``: the smallest published network takes too long here."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("config", overrides=[*FAKED, f"data={TASKS[task][0]}", "image_size=64"])
    config = OmegaConf.to_container(cfg, resolve=True)
    (folder / "best.ckpt").write_bytes(b"weights")
    classes = [f"class {number}" for number in range(config["data"]["num_classes"])]
    monkeypatch.setattr(exporting, "from_checkpoint", lambda path: network_of(task))
    return Source(SavedRun(folder / "best.ckpt", config, classes, task), config["data"], 64, images, int8)


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("task", TASKS)
def test_file__agrees_with_the_network_on_real_images(task, out, tmp_path, monkeypatch):
    source = source_of(task, tmp_path, monkeypatch)
    done = export("torch", source, out)
    assert done.fidelity.images == 4
    assert done.fidelity.difference < 1e-4
    assert done.fidelity.agreement == 1.0
    assert done.fidelity.score == pytest.approx(done.fidelity.published)
    assert sorted(file.name for file in out.iterdir()) == ["a_b_c-64.pt2", "a_b_c-64.pt2.json"]
    card = json.loads((out / "a_b_c-64.pt2.json").read_text())
    assert card["format"] == "torch"
    assert card["precision"] == "float32"
    assert card["task"] == task
    assert card["classes"] == source.run.classes
    assert card["inputs"] == [{"name": "images", "shape": [1, 3, 64, 64], "dtype": "float32", "layout": "NCHW"}]
    assert [output["name"] for output in card["outputs"]] == list(source.graph("torch").outputs)
    assert card["files"] == {"a_b_c-64.pt2": hashlib.sha256(done.path.read_bytes()).hexdigest()}
    assert card["checkpoint"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert card["fidelity"]["agreement"] == 1.0
    assert card["preprocessing"]["mean"] == [0.485, 0.456, 0.406]
    assert card["parameters"] == sum(parameter.numel() for parameter in source.network.parameters())
    assert set(card["macs"]) == {"convolution", "linear", "attention"}
    assert card["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert ("detections.detect" in card["postprocessing"]) == (task == "Detection")


def test_detections__come_out_of_a_file_whose_runtime_suppresses(out, tmp_path, monkeypatch):
    if missing := formats.missing("onnx"):
        pytest.skip(f"onnx is not installed, it lacks {', '.join(missing)}: pip install 'dotcom[onnx]'")
    done = export("onnx", source_of("Detection", tmp_path, monkeypatch), out)
    assert done.fidelity.agreement == 1.0
    assert done.fidelity.compared > 100
    card = json.loads((out / f"{done.path.name}.json").read_text())
    shapes = {output["name"]: (output["shape"], output["dtype"]) for output in card["outputs"]}
    assert shapes == {
        "boxes": (["M <= 100", 4], "float32"),
        "scores": (["M <= 100"], "float32"),
        "labels": (["M <= 100"], "int64"),
    }
    assert card["postprocessing"].startswith("none")


def perturbed(graph, scale: float):
    """The graph with weights that are a little off, as after a wrong fold."""
    torch.manual_seed(1)
    for parameter in graph.parameters():
        parameter.data *= 1 + scale * torch.randn_like(parameter)
    return graph


def runner(graph):
    """The graph as if it were a loaded file: converting takes seconds, and has tests of its own."""
    run = torch.inference_mode()(lambda images: [output.numpy() for output in graph(torch.from_numpy(images))])
    return lambda images: dict(zip(graph.outputs, run(images), strict=True))


@pytest.mark.parametrize("task", TASKS)
def test_wrong_file__is_caught_and_deleted(task, out, tmp_path, monkeypatch):
    source = source_of(task, tmp_path, monkeypatch)
    wrong = perturbed(source.graph("torch"), 0.02)
    monkeypatch.setattr(formats.module("torch"), "write", lambda graph, path: path.write_bytes(b"wrong") and None)
    monkeypatch.setattr(formats.module("torch"), "load", lambda path: runner(wrong))
    with pytest.raises(RejectedError, match=r"differs by .* of the spread; expected 0\.001 at most"):
        export("torch", source, out)
    assert list(out.iterdir()) == []


def test_file__from_before_stays_when_a_new_one_is_wrong(out, tmp_path, monkeypatch):
    source = source_of("Classification", tmp_path, monkeypatch)
    (out / "a_b_c-64.pt2").write_bytes(b"before")
    (out / ".a_b_c-64.pt2.tmp").mkdir()
    (out / ".a_b_c-64.pt2.tmp" / "half").write_text("from an export that was killed")
    monkeypatch.setattr(formats.module("torch"), "write", lambda graph, path: path.write_bytes(b"wrong") and None)
    monkeypatch.setattr(formats.module("torch"), "load", lambda path: runner(perturbed(source.graph("torch"), 0.1)))
    with pytest.raises(RejectedError):
        export("torch", source, out)
    assert [(file.name, file.read_bytes()) for file in out.iterdir()] == [("a_b_c-64.pt2", b"before")]


def test_file__that_this_machine_cannot_run_is_written_and_said_to_be_unchecked(out, tmp_path, monkeypatch):
    def write(graph, path):
        path.mkdir()
        (path / "Manifest.json").write_text("{}")

    monkeypatch.setattr(formats.module("coreml"), "write", write)
    monkeypatch.setattr("sys.platform", "linux")
    source = source_of("Classification", tmp_path, monkeypatch)
    for _ in range(2):  # the second time, a folder has to be replaced
        done = export("coreml", source, out)
    assert done.fidelity is None
    card = json.loads((out / "a_b_c-64.mlpackage.json").read_text())
    assert card["not_run"] == "Core ML runs on macOS only"
    assert card["fidelity"] is None
    assert card["precision"] == "float16"
    assert sorted(file.name for file in out.iterdir()) == ["a_b_c-64.mlpackage", "a_b_c-64.mlpackage.json"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"difference": float("nan")}, "differs by nan"),
        ({"difference": 0.002}, "differs by 0.002 of the spread"),
        ({"agreement": 0.98}, "agrees in 98.00% of results"),
        ({"score": 0.5}, "has top-1 0.500 where the network has 0.700"),
        ({"score": float("nan")}, "has top-1 nan"),
    ],
)
def test_tolerance__names_what_is_beyond_it(change, said):
    right = Fidelity(64, 1e-6, 1.0, 64, "top-1", 0.7, 0.7)
    assert right.failures(TOLERANCES["float32"]) == []
    (line,) = replace(right, **change).failures(TOLERANCES["float32"])
    assert line.startswith(said)


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_file__whose_outputs_are_no_numbers_fails(wrong, tmp_path, monkeypatch):
    source = source_of("Classification", tmp_path, monkeypatch)
    fidelity = compare(source.judge, lambda images: {"logits": np.full((1, 10), wrong)}, source.checked_on, 0.0)
    assert len(fidelity.failures(TOLERANCES["float32"])) == 3
    assert fidelity.failures(TOLERANCES["int8"])


def test_classes__that_are_all_but_equal_agree():
    judge = judge_of(network_of("Classification"))
    expected = {"logits": np.array([[1.0, 3.0, 2.9999]], np.float32)}
    assert judge.agreement(expected, {"logits": np.array([[1.0, 2.9, 3.0]], np.float32)}, 0.0) == (1, 1)
    assert judge.agreement(expected, {"logits": np.array([[4.0, 2.9, 3.0]], np.float32)}, 0.0) == (0, 1)


def test_boxes__are_the_same_once_of_one_class_and_close():
    some = {
        "boxes": np.array([[0, 0, 10, 10], [0, 0, 10, 10], [5, 5, 5, 9]], np.float32),
        "labels": np.array([1, 1, 0]),
    }
    others = {"boxes": np.array([[0, 0, 10, 9.5], [5, 5, 5, 9], [0, 0, 10, 10]], np.float32)}
    others["labels"] = np.array([1, 0, 2])
    assert matches(some, others).tolist() == [0, -1, 1]
    assert matches(some, {"boxes": np.zeros((0, 4), np.float32), "labels": np.zeros(0, int)}).tolist() == [-1, -1, -1]


def test_samples__fit_the_file_and_carry_the_truth(tmp_path, monkeypatch):
    for task, (data, _) in TASKS.items():
        config = source_of(task, tmp_path, monkeypatch).data
        first, *_ = found = samples(config, task, 96, 3)
        assert len(found) == 3, data
        assert {(sample.image.shape, sample.image.dtype.name) for sample in found} == {((1, 3, 96, 96), "float32")}
        again = samples(config, task, 96, 3)[0]
        np.testing.assert_array_equal(first.image, again.image)
    assert first.target.shape == (96, 96)


def test_letterbox__keeps_the_shape_and_fills_with_the_mean_colour():
    from dotcom.deploy.samples import boxed, filled

    image, mask = boxed(torch.ones(3, 50, 100).to(torch.uint8), torch.ones(50, 100).to(torch.uint8), 64)
    assert image.shape == (3, 32, 64)
    assert mask.shape == (64, 64)
    assert (mask[:32] == 1).all()
    assert (mask[32:] == 255).all()
    assert filled(image.float(), 64)[:, 32:].abs().max() == 0


def test_weights__that_cannot_be_loaded_are_named(tmp_path, monkeypatch):
    source = source_of("Classification", tmp_path, monkeypatch)
    monkeypatch.undo()
    with pytest.raises(UsageError, match=r"best\.ckpt: no PyTorch checkpoint, or a damaged one"):
        Source(source.run, source.data, 64, 4, int8=False)
