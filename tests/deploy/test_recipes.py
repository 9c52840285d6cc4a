"""The recipe for ncnn in experiments/latency/RECIPES.md: from an ONNX file of ours to the same outputs."""

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from dotcom.deploy.formats import module
from dotcom.deploy.graph import deployed

NCNN = """
import ncnn, numpy as np
network = ncnn.Net()
network.opt.num_threads = 1
network.opt.use_fp16_packed = network.opt.use_fp16_storage = network.opt.use_fp16_arithmetic = False
network.load_param("net.ncnn.param")
network.load_model("net.ncnn.bin")
extractor = network.create_extractor()
image = np.load("images.npy")[0]  # a Mat does not keep it alive
extractor.input("in0", ncnn.Mat(image))
np.save("logits.npy", np.array(extractor.extract("out0")[1])[None])
"""


def test_ncnn__computes_what_the_network_does(classifier, tmp_path):
    pytest.importorskip("ncnn", reason="ncnn is not installed")
    graph, images = deployed(classifier, 64), torch.randn(1, 3, 64, 64)
    module("onnx").write(graph, tmp_path / "net.onnx")
    np.save(tmp_path / "images.npy", images.numpy())
    pnnx = shutil.which("pnnx", path=str(Path(sys.executable).parent)) or "pnnx"
    command = [pnnx, "net.onnx", "inputshape=[1,3,64,64]"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "exceeds ncnn physical rank" not in done.stdout + done.stderr
    subprocess.run([sys.executable, "-c", NCNN], cwd=tmp_path, check=True, capture_output=True)  # it may crash
    expected = classifier.eval()(images).detach().numpy()
    assert np.abs(np.load(tmp_path / "logits.npy") - expected).max() < 0.01 * np.ptp(expected)  # weights of 16 bits
