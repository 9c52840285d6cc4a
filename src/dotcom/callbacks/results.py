"""Detections in the format that COCO's server takes."""

from pathlib import Path
from typing import Any

import lightning as L
import torch.distributed as dist

from dotcom.record import to_json, whole


class CocoResults(L.Callback):
    """Writes the detections of a final validation to ``predictions.json``, in COCO's results format.

    One entry per detection: ``image_id`` and ``category_id`` as the annotations have them, ``bbox`` as x, y, width,
    height in pixels of the original image, and ``score``.

    Source: https://cocodataset.org/#format-results.

    Args:
        folder: Where the file goes.
    """

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "predictions.json"
        self.entries: list[dict[str, Any]] = []

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.entries = []

    def on_validation_batch_end(
        self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, batch: Any, *args: Any
    ) -> None:
        if trainer.state.fn == "fit":
            return
        ids: list[int] = trainer.datamodule.datasets["val"].category_ids  # type: ignore[attr-defined]
        for target, found in zip(batch[1], outputs, strict=True):
            columns = (found[key].tolist() for key in ("boxes", "labels", "scores"))
            for (x1, y1, x2, y2), label, score in zip(*columns, strict=True):
                self.entries.append(
                    {
                        "image_id": int(target["image_id"]),
                        "category_id": ids[label],
                        "bbox": [round(value, 2) for value in (x1, y1, x2 - x1, y2 - y1)],
                        "score": round(score, 5),
                    }
                )

    def on_validation_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        if trainer.state.fn == "fit":
            return
        parts: list[Any] = [self.entries]
        if trainer.world_size > 1:
            parts = [None] * trainer.world_size
            dist.all_gather_object(parts, self.entries)
        if trainer.is_global_zero:
            with whole(self.path) as temporary:
                temporary.write_text(to_json([entry for part in parts for entry in part]))
