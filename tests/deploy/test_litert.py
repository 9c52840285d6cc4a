"""LiteRT, whose converter pins other packages down: these tests run in the environment of ``make litert``."""

import numpy as np
import pytest
import torch

from dotcom.deploy import formats
from dotcom.deploy.graph import deployed
from dotcom.models import Classifier, Detector, DoTCoM, DoTCoMConfig, Segmenter

pytest.importorskip(
    "litert_torch", reason="litert-torch has an environment of its own: make litert", exc_type=ImportError
)

TINY = DoTCoMConfig(stem=8, early=(8, 8), inner=(16, 16, 16), outer=(16, 16, 16), last=16, depths=(1, 1, 1))
TASKS = {
    "classification": lambda: Classifier(DoTCoM(TINY), num_classes=3),
    "detection": lambda: Detector(DoTCoM(TINY), num_classes=3, loss="focal", extra_channels=[16]),
    "segmentation": lambda: Segmenter(DoTCoM(TINY), num_classes=3, head="mobilevit"),
}


@pytest.mark.parametrize("task", TASKS)
def test_file__computes_what_the_graph_does(task, tmp_path, capfd):
    torch.manual_seed(0)
    network = TASKS[task]()
    network(torch.randn(4, 3, 64, 64))  # batch norm sees some data
    graph = deployed(network.eval(), 64, "litert")
    module = formats.module("litert")
    module.write(graph, tmp_path / "file.tflite")
    run = module.load(tmp_path / "file.tflite", threads=1)
    image = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        expected = dict(zip(graph.outputs, graph(image), strict=True))
    found = run(image.numpy())
    assert list(found) == list(expected)
    for key, value in expected.items():
        assert found[key].shape == value.shape
        assert np.abs(found[key] - value.numpy()).max() < 1e-3 * max(1e-3, float(value.std())), key
    assert capfd.readouterr().out == ""
