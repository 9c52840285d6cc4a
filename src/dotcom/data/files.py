"""What data sets of image files share: an unreadable file is skipped by name, counted, and not fatal."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from dotcom.annotations.images import UnreadableImage
from dotcom.data.preflight import read_image


class ImageFiles(Dataset[Any]):
    """Image files; a subclass makes samples of them, or None for a file it skipped.

    Args:
        paths: Image files, in the order of the samples.
        classes: Class names, in the order of the labels.

    Attributes:
        unreadable: One flag per file, shared between loader processes.
    """

    def __init__(self, paths: Sequence[Path], classes: Sequence[str]) -> None:
        self.paths = paths
        self.classes = list(classes)
        flags: Any = torch.zeros(len(self.paths), dtype=torch.bool)
        self.unreadable: Tensor = flags.share_memory_()

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def skipped(self) -> list[Path]:
        """Files that were asked for and could not be used."""
        return [self.paths[index] for index in self.unreadable.nonzero().flatten().tolist()]

    def read(self, index: int, upright: bool = True) -> Tensor | None:
        """The image, uint8 (3, H, W), or None if it cannot be decoded; ``upright`` as in ``read_image``."""
        return self.decoded(index, self.source(index), upright)

    def source(self, index: int) -> Path | bytes:
        """Where the image is, or what its file holds."""
        return self.paths[index]

    def decoded(self, index: int, source: Path | bytes, upright: bool = True) -> Tensor | None:
        """The same, for a source that is at hand."""
        try:
            return read_image(source, upright)
        except UnreadableImage as error:
            self.skip(index, str(error))
            return None

    def skip(self, index: int, why: str) -> None:
        """Count the file as unreadable, and say why the first time."""
        if not self.unreadable[index]:
            warnings.warn(f"skipped unreadable image {self.paths[index]}: {why}", stacklevel=3)
        self.unreadable[index] = True
