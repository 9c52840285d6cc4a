"""Imports point one way: tasks -> models, never back; and nothing heavy comes with the configuration."""

import subprocess
import sys

import pytest


@pytest.mark.parametrize(
    ("package", "forbidden"),
    [
        ("dotcom.models", ("lightning", "hydra", "wandb", "dotcom.data", "dotcom.tasks")),
        ("dotcom.timm", ("lightning", "hydra", "dotcom.data", "dotcom.tasks")),
        ("dotcom.bench.__main__", ("torch", "numpy")),
        ("dotcom.rollcall", ("torch",)),
        ("dotcom.optim", ("lightning", "hydra", "dotcom.models")),
        ("dotcom.data", ("hydra", "wandb", "dotcom.models", "dotcom.tasks")),
        ("dotcom.tasks", ("hydra", "wandb", "dotcom.data", "dotcom.models")),
        ("dotcom.callbacks", ("hydra", "dotcom.data", "dotcom.models", "dotcom.tasks")),
        ("dotcom.config", ("torch", "torchvision", "lightning", "numpy", "matplotlib", "wandb")),
        *(
            (f"dotcom.annotations.{format_}", ("torch", "torchvision", "lightning", "numpy", "scipy", "matplotlib"))
            for format_ in ("coco", "voc", "voc_masks", "masks")
        ),
        ("dotcom.errors", ("torch", "hydra", "omegaconf")),
        ("dotcom.deploy.formats", ("torch", "numpy")),
        ("dotcom.deploy.detections", ("torch",)),
        ("dotcom.deploy.graph", ("lightning", "hydra", "wandb", "dotcom.tasks")),
        ("dotcom.cli", ("torch", "torchvision", "lightning", "hydra", "omegaconf")),
        *(
            (f"dotcom.cli.{command}", ("torch", "torchvision", "lightning", "matplotlib", "wandb"))
            for command in ("predict", "evaluate", "summary")
        ),
    ],
)
def test_import__does_not_pull_in(package, forbidden):
    code = f"import sys, {package}; print([m for m in {forbidden!r} if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"
