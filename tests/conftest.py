"""Fixtures every test may use: a tiny real network, tiny real files, and the command line."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("GOMP_SPINCOUNT", "10000")  # before torch: threads that spin starve other processes

import pytest
import torch
from PIL import Image

from dotcom.models import Classifier, DoTCoM, DoTCoMConfig

pytest_plugins = ["saved_runs", "prepared_data"]
torch.set_num_threads(1)  # tiny tensors; waking a second thread costs more than it brings

REPO = Path(__file__).parent.parent

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def config() -> DoTCoMConfig:
    """A real DoTCoM, as small as the blocks allow."""
    return DoTCoMConfig(stem=8, early=(8, 8), inner=(16, 16, 16), outer=(16, 16, 16), last=16, depths=(1, 1, 1))


@pytest.fixture
def backbone(config: DoTCoMConfig) -> DoTCoM:
    torch.manual_seed(0)
    return DoTCoM(config)


@pytest.fixture
def classifier(backbone: DoTCoM) -> Classifier:
    return Classifier(backbone, num_classes=3)


@pytest.fixture(scope="session")
def make_photos() -> Callable[[Path], Path]:
    """Makes a folder of 2 classes x (4 train + 2 val) JPEGs; class ``dark`` is dark, class ``light`` is light."""

    def make(parent: Path) -> Path:
        rng = torch.Generator().manual_seed(0)
        for split, count in (("train", 4), ("val", 2)):
            for name, level in (("dark", 40), ("light", 200)):
                folder = parent / "photos" / split / name
                folder.mkdir(parents=True)
                for number in range(count):
                    pixels = torch.randint(level - 30, level + 30, (3, 90, 120), generator=rng).to(torch.uint8)
                    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(folder / f"{number}.jpg")
        return parent / "photos"

    return make


@pytest.fixture
def photos(tmp_path: Path, make_photos: Callable[[Path], Path]) -> Path:
    return make_photos(tmp_path)


@pytest.fixture
def train(tmp_path: Path) -> Run:
    """Calls ``python train.py`` with the given overrides, in tmp_path."""

    def run(*overrides: str, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(REPO / "train.py"), *overrides]
        done = subprocess.run(command, cwd=tmp_path, env=os.environ | env, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    return run
