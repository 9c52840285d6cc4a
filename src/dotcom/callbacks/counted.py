"""How many images a validation has looked at, over all processes."""

from typing import Any

import lightning as L
import torch

from dotcom.errors import UsageError


class EvaluatedImages(L.Callback):
    """Counts the images of each validation, and stops the run if they are not those of the split, each once.

    Raises:
        UsageError: If images were seen twice or left out, other than those that could not be read.
    """

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.seen = 0

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        self.seen += len(batch[0])

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        data: Any = getattr(trainer, "datamodule", None)
        if data is None:
            return
        dataset = data.datasets["val"]
        own = torch.tensor([self.seen, len(getattr(dataset, "skipped", ()))], device=trainer.strategy.root_device)
        seen, skipped = trainer.strategy.reduce(own, reduce_op="sum").tolist()  # each skips in its own share
        data.evaluated_images = seen
        limit = trainer.limit_val_batches
        whole = isinstance(limit, float) and limit == 1.0  # an int is a number of batches
        if whole and not trainer.sanity_checking and not len(dataset) - skipped <= seen <= len(dataset):
            raise UsageError(
                f"validation looked at {seen:,} images of {len(dataset):,}, {skipped:,} of which could not be read; "
                "expected each of the others once; this is a mistake of dotcom, please report it"
            )
