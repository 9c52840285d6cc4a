"""Makes fashion.npz, the balanced part of Fashion-MNIST that the package carries; nobody needs to run it again.

    python -m dotcom.data.embedded.make_fashion FOLDER

FOLDER holds the four original idx .gz files. Train photos are drawn from the published training split, validation
photos from the published test split, the same number per class, in random order: the seed below fixes both.
"""

import gzip
import sys
from pathlib import Path
from typing import Any

import numpy as np

SEED = 0
SIZES = {"train": ("train", 6000), "val": ("t10k", 1000)}


def read(folder: Path, name: str, header: int) -> np.ndarray:
    """The bytes of an idx file after its header."""
    return np.frombuffer(gzip.decompress((folder / f"{name}.gz").read_bytes()), np.uint8, offset=header)


def subset(folder: Path, published: str, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Images (size, 28, 28) and labels (size,), both uint8, equally many of each class."""
    images = read(folder, f"{published}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
    labels = read(folder, f"{published}-labels-idx1-ubyte", 8)
    chosen = np.concatenate([rng.choice(np.flatnonzero(labels == c), size // 10, replace=False) for c in range(10)])
    rng.shuffle(chosen)
    return images[chosen], labels[chosen]


def main() -> None:
    """Write fashion.npz beside this file."""
    rng = np.random.default_rng(SEED)
    arrays: dict[str, Any] = {}
    for split, (published, size) in SIZES.items():
        arrays[f"{split}_images"], arrays[f"{split}_labels"] = subset(Path(sys.argv[1]), published, size, rng)
    np.savez_compressed(Path(__file__).with_name("fashion.npz"), **arrays)


if __name__ == "__main__":
    main()
