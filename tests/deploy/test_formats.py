"""A written file computes what the graph computes, in every format that is installed."""

import subprocess
import sys
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from dotcom.deploy import formats
from dotcom.deploy.graph import Graph, deployed
from dotcom.errors import UsageError
from dotcom.models import Classifier, Detector, DoTCoM, DoTCoMConfig, Segmenter

TINY = DoTCoMConfig(stem=8, early=(8, 8), inner=(16, 16, 16), outer=(16, 16, 16), last=16, depths=(1, 1, 1))
TASKS = {
    "classification": lambda: Classifier(DoTCoM(TINY), num_classes=3),
    "detection": lambda: Detector(DoTCoM(TINY), num_classes=3, loss="focal", extra_channels=[16]),
    "segmentation": lambda: Segmenter(DoTCoM(TINY), num_classes=3, head="mobilevit"),
}
CASES = [  # converting takes seconds; test_verify has torch, and ONNX with detection
    ("onnx", "classification"),
    ("onnx", "segmentation"),
    ("openvino", "detection"),
    ("executorch", "classification"),
]


def need(name: str) -> None:
    if missing := formats.missing(name):
        extra = formats.module(name).EXTRA
        pytest.skip(f"{name} is not installed, it lacks {', '.join(missing)}: pip install 'dotcom[{extra}]'")


@cache
def network(task: str) -> torch.nn.Module:
    torch.manual_seed(0)
    network = TASKS[task]()
    for _ in range(2):
        network(torch.randn(4, 3, 64, 64))  # batch norm sees some data
    return network.eval()


@pytest.mark.parametrize(("name", "task"), CASES)
def test_file__computes_what_the_graph_does(name, task, tmp_path):
    need(name)
    module = formats.module(name)
    graph = deployed(network(task), 64, name)
    path = tmp_path / f"file{module.SUFFIX}"
    module.write(graph, path)
    assert formats.of_file(path) == name
    assert {file.name for file in tmp_path.iterdir()} <= {path.name, path.with_suffix(".bin").name}
    run = module.load(path, threads=1)
    for seed in range(2):
        image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(seed))
        with torch.inference_mode():
            expected = dict(zip(graph.outputs, graph(image), strict=True))
        found = run(np.asfortranarray(image.numpy()))  # as photos come, which lie in memory as (H, W, 3)
        assert list(found) == list(expected)
        for key, value in expected.items():
            assert found[key].dtype == np.float32
            assert found[key].shape == value.shape
            assert np.abs(found[key] - value.numpy()).max() < 1e-3 * max(1e-3, float(value.std())), key


SIGNALLED = """
import signal, sys
from pathlib import Path
from dotcom.deploy import formats
signal.signal(signal.SIGUSR1, lambda *_: print("heard"))
module = formats.module(sys.argv[1])
first, second = (module.load(Path(sys.argv[2]), threads=1) for _ in range(2))
del first
del second
signal.raise_signal(signal.SIGUSR1)
"""


@pytest.mark.parametrize("name", ["onnx", "openvino", "executorch"])
def test_signal__is_heard_after_files_were_dropped_in_any_order(name, tmp_path):
    need(name)
    module = formats.module(name)
    module.write(small(), path := tmp_path / f"file{module.SUFFIX}")
    command = [sys.executable, "-X", "faulthandler", "-c", SIGNALLED, name, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "heard\n"), done.stderr


def test_outputs__of_a_file_outlive_the_next_image(tmp_path):
    need("onnx")
    module = formats.module("onnx")
    module.write(small(), tmp_path / "file.onnx")
    run = module.load(tmp_path / "file.onnx", threads=1)
    first = run(np.ones((1, 3, 32, 32), np.float32))["logits"]
    kept = first.copy()
    run(np.zeros((1, 3, 32, 32), np.float32))
    np.testing.assert_array_equal(first, kept)


def test_core_ml__is_written_here_and_run_on_a_mac(tmp_path):
    need("coreml")
    import coremltools

    path = tmp_path / "file.mlpackage"
    formats.module("coreml").write(small(), path)
    description = coremltools.utils.load_spec(str(path)).description
    assert [(one.name, list(one.type.multiArrayType.shape)) for one in description.input] == [
        ("images", [1, 3, 32, 32])
    ]
    assert [one.name for one in description.output] == ["logits"]
    if sys.platform != "darwin":
        with pytest.raises(UsageError, match="Core ML runs on macOS only"):
            formats.module("coreml").load(path)


def small() -> Graph:
    """A network of three layers: what takes seconds to convert is the length of a network."""
    torch.manual_seed(0)
    layers = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3), torch.nn.SiLU(), torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten()
    )
    return Graph(layers.eval(), 32)


def test_names__of_outputs_follow_from_their_number():
    for task in TASKS:
        outputs = deployed(network(task), 64).outputs
        assert formats.OUTPUTS[len(outputs)] == outputs


def test_suffix__tells_the_format():
    for name in formats.FORMATS:
        assert formats.of_file(Path(f"some/file{formats.module(name).SUFFIX}")) == name
    with pytest.raises(UsageError, match=r"file\.xml: no file of a runtime; expected one of \.onnx \.pte"):
        formats.of_file(Path("some/file.xml"))


def test_missing_package__is_named_with_the_command(monkeypatch, tmp_path):
    monkeypatch.setattr(formats, "find_spec", lambda name: None)
    for name in set(formats.FORMATS) - {"timm", "torch"}:
        with pytest.raises(UsageError, match=rf"{name} needs .*: pip install 'dotcom\[{name}\]'"):
            formats.module(name).write(small(), tmp_path / "file")
    assert formats.missing("torch") == []
    assert formats.unrunnable("onnx") == "onnxruntime is not installed"


def test_looking__imports_nothing_heavy():
    code = "import sys; from dotcom.deploy import formats as f; [(f.missing(n), f.unrunnable(n)) for n in f.FORMATS];"
    code += "print([m for m in ('torch', 'numpy', 'onnx', 'executorch', 'openvino') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_noise__is_held_back_unless_it_explains_a_failure(capfd):
    with formats.quiet():
        subprocess.run(["sh", "-c", "echo noise; echo noise >&2"], check=True)
    assert capfd.readouterr() == ("", "")
    with pytest.raises(subprocess.CalledProcessError), formats.quiet():
        subprocess.run(["sh", "-c", "echo reason; exit 1"], check=True)
    assert capfd.readouterr() == ("", "reason\n")
