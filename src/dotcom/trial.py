"""What a trial, ``smoke=true``, tries once it has trained: its files, its checkpoint, and an export."""

import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_only

from dotcom.deploy.export import RejectedError, Source, export
from dotcom.errors import UsageError, flat
from dotcom.inference.saved_run import saved_run
from dotcom.models import from_checkpoint

IMAGES = 4  # to compare the exported network on
PICTURES = ("predictions.png", "curves.png")


@rank_zero_only
def try_rest(config: dict[str, Any], scores: Mapping[str, float], trainer: L.Trainer, task: L.LightningModule) -> None:
    """Try what follows a training, and say in a few lines what was tried and that all was well.

    Args:
        config: Of the run.
        scores: Of its validation.
        trainer: That trained and validated.
        task: That it trained.

    Raises:
        UsageError: One line that names what failed.
    """
    folder, batch = Path(config["output_dir"]), config["data"]["batch_size"]
    images = trainer.datamodule.evaluated_images  # type: ignore[attr-defined]
    lines = [f"trained     {trainer.limit_train_batches} batches of {batch} images"]
    lines.append(f"validated   {images} images, {', '.join(f'{name} {scores[name]:.3g}' for name in sorted(scores))}")
    if missing := [name for name in PICTURES if not (folder / name).exists()]:
        raise UsageError(f"smoke=true: {' and '.join(missing)}: not drawn")
    lines.append(f"pictures    {', '.join(PICTURES)}")
    best = Path(getattr(trainer.checkpoint_callback, "best_model_path", "") or folder / "best.ckpt")
    check_saved(best, task)
    lines.append(f"checkpoint  {best.name} read back, equal to the last bit")
    lines.append(f"export      {exported(best, folder / 'export')}")
    print("smoke=true: all was well; nothing in this folder is a result", *lines, sep="\n  ", flush=True)


def check_saved(path: Path, task: L.LightningModule) -> None:
    """A network that is built from the checkpoint alone is the one that was trained.

    Raises:
        UsageError: If there is no such file, or a tensor differs.
    """
    if not path.exists():
        raise UsageError(f"smoke=true: {path}: not written")
    read, kept = from_checkpoint(path, ema=False).state_dict(), task.model.state_dict()  # type: ignore[union-attr]
    if different := [name for name in kept if name not in read or not torch.equal(read[name], kept[name].cpu())]:
        raise UsageError(f"smoke=true: {path}: it holds other values of {different[0]} than the network")


def exported(path: Path, folder: Path) -> str:
    """Export the checkpoint as PyTorch's own format, which needs no extra, and compare it; returns what came out.

    Raises:
        UsageError: If it cannot be exported, or computes something else.
    """
    run = saved_run(path)
    transform = run.config["data"]["val_transform"]
    size = transform.get("image_size", run.config["image_size"])
    folder.mkdir(exist_ok=True)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the tracer, about itself
            done = export("torch", Source(run, run.config["data"], size, IMAGES, int8=False), folder)
    except RejectedError as error:
        raise UsageError(f"smoke=true: the exported network {flat(str(error))}") from None
    if done.fidelity is None:
        raise UsageError(f"smoke=true: the exported network was not run: {done.why}")
    return f"{done.path.name}, {done.fidelity.line()}"
