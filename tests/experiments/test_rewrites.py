"""The ladder from the published to the deployed form measures one function, but for the row that says otherwise."""

import subprocess
import sys

import pytest
import torch
from experiments.rewrites.forms import FORMS, WITHOUT

from conftest import REPO
from dotcom.bench.randomised import randomised


@torch.no_grad()
@pytest.mark.parametrize("form", [form for form in FORMS if form != WITHOUT])
def test_form__computes_the_same(classifier, form):
    network = randomised(classifier)
    images = torch.randn(1, 3, 64, 64)
    (logits,) = FORMS[form](network, 64, "executorch")(images)
    assert (logits - network(images)).abs().max() < 1e-5 * logits.std()


@torch.no_grad()
def test_form_without_first_co_bias__is_another_function(classifier):
    images = torch.randn(1, 3, 64, 64)
    (logits,) = FORMS[WITHOUT](randomised(classifier), 64, "onnx")(images)
    assert (logits - classifier(images)).abs().max() > 1e-3 * logits.std()


def test_rewrites__names_a_wrong_runtime():
    command = [sys.executable, "-m", "experiments.rewrites", "--runtimes", "onyx"]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "--runtimes=onyx: expected" in done.stderr
    assert "did you mean onnx?" in done.stderr
