"""In which size training shows its images: drawn anew for each batch, or rising from epoch to epoch."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.nn import functional as F

STEP = 32  # the last stage of a network strides by so much


class Sizes:
    """The side of the square images of a training batch, which follows from (seed, epoch, batch) alone.

    So a run that is resumed draws the same sizes, and all processes of a run see equally large images.

    Multi-scale training: YOLO9000 (arXiv:1612.08242), Section 2, there every ten batches. Progressive resizing:
    EfficientNetV2 (arXiv:2104.00298), Section 4, there with stronger augmentation for larger images. Where both are
    asked for, an epoch draws among the sizes up to its own, and the last epochs among all.

    Args:
        drawn: Sizes to draw from, multiples of 32; None for one size.
        first: Size of the first epochs, a multiple of 32; None for full size from the start.
        until: Fraction of the epochs, in (0, 1], after which images have full size; the steps of 32 pixels up to it
            share the epochs before that.
        seed: Of the run.
    """

    def __init__(
        self, drawn: Sequence[int] | None = None, first: int | None = None, until: float = 0.5, seed: int = 0
    ) -> None:
        for size in (*(drawn or ()), *([] if first is None else [first])):
            if size <= 0 or size % STEP:
                raise ValueError(f"sizes of images must be multiples of {STEP}, got {size}")
        self.drawn, self.first, self.until, self.seed = tuple(drawn or ()), first, until, seed

    def now(self, trainer: Any, full: int) -> int:
        """The size of the batch that this trainer has just got; ``full`` as in ``of``."""
        before = trainer.fit_loop.epoch_loop.batch_progress.current.ready  # batches of this epoch before this one
        return self.of(trainer.current_epoch, before, trainer.max_epochs, full)

    def of(self, epoch: int, batch: int, epochs: int, full: int) -> int:
        """The size of one batch.

        Args:
            epoch: From 0 on.
            batch: Its number within the epoch, from 0 on.
            epochs: Of the whole training.
            full: Size of the images as they come, a multiple of 32.
        """
        size = self.rising(epoch, epochs, full)
        if not self.drawn:
            return size
        choices = self.drawn if size == full else [drawn for drawn in self.drawn if drawn <= size] or [size]
        return int(np.random.default_rng((self.seed, epoch, batch)).choice(choices))

    def rising(self, epoch: int, epochs: int, full: int) -> int:
        """The size of an epoch without drawing."""
        if self.first is None or epoch >= self.until * epochs:
            return full
        steps = max(0, (full - self.first) // STEP)
        return min(full, self.first + STEP * int(steps * epoch / (self.until * epochs)))


def resized(images: Tensor, targets: Any, size: int) -> tuple[Tensor, Any]:
    """A batch whose images are squares of ``size``, on whatever device it is; boxes and masks follow.

    Args:
        images: Float (B, 3, H, W), as the data module normalises them.
        targets: Labels, which stay as they are; masks uint8 (B, H, W), by nearest neighbour; or dicts with ``boxes``.
        size: Side in pixels.
    """
    height, width = images.shape[-2:]
    if (height, width) == (size, size):
        return images, targets
    images = F.interpolate(images, (size, size), mode="bilinear", antialias=True)
    if isinstance(targets, list):
        scale = images.new_tensor([size / width, size / height] * 2)
        return images, [target | {"boxes": target["boxes"] * scale} for target in targets]
    if targets.ndim == 3:
        targets = F.interpolate(targets[:, None], (size, size), mode="nearest-exact")[:, 0]
    return images, targets
