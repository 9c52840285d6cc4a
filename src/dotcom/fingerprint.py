"""Which settings can change a result, and a short name for them.

Two runs of equal fingerprint train the same network on the same data in the same order, wherever they run and wherever
they write. Nothing here imports torch.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD

PLUMBING = ("hardware", "logger", "callbacks", "trainer", "hydra", "sweep", "slots", "job_timeout")
PLUMBING_KEYS = {  # at any depth: where it runs, how fast, and where it writes
    "arms",
    "channels_last",
    "check",
    "checkpointing",
    "ckpt_path",
    "compile",
    "fit",
    "float32_matmul",
    "join_timeout",
    "num_workers",
    "output_dir",
    "pin_memory",
    "plan",
    "precision",
    "prefetch",
    "resume",
    "retry",
    "root",
    "run_name",
    "save_every_minutes",
    "save_every_steps",
    "status",
    "worker_threads",
}
NEWER: dict[str, Any] = {  # settings younger than some runs, and the values that mean what those runs did
    "average_best": None,
    "decayed": "all",
    "distill": "soft",
    "distill_temperature": 3.0,
    "distill_weight": 0.5,
    "layer_decay": 1.0,
    "lr_scaling": None,
    "multi_scale": None,
    "progressive": None,
    "progressive_until": 0.5,
    "smoke": False,
    "sync_batchnorm": False,
    "teacher": None,
}
NEWER_WITHIN: dict[str, Any] = {  # likewise, within the groups
    "model.two_way": True,
    "task.model.backbone.two_way": True,
    "data.mean": list(IMAGENET_MEAN),
    "data.std": list(IMAGENET_STD),
    "data.train_transform.interpolation": "bilinear",
    "data.val_transform.interpolation": "bilinear",
}
SPELLED = ("max_epochs", "accumulate_grad_batches", "gradient_clip_val")  # epochs, accumulate and clip say the same
LENGTH = ("max_steps", "max_time", "limit_train_batches", "limit_val_batches", "overfit_batches")
DIGITS = 8


def scientific(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys and plain values of what matters to the result: model, data, task, optimiser, seed, length.

    Left out are paths, loggers, callbacks, the hardware and what follows from it (precision, memory layout, loaders),
    and settings that have come later and do not change what a run does, so that old runs keep their fingerprints.

    Args:
        config: A resolved configuration, as plain values.
    """
    own: dict[str, Any] = {key: value for key, value in config.items() if key not in PLUMBING}
    own["trainer"] = trainer_of(config, LENGTH)
    left_out = PLUMBING_KEYS | {key for key, value in NEWER.items() if config.get(key, value) == value}
    if config.get("lr_scaling") is None:
        left_out.add("lr_batch")  # nobody reads it
    return {
        key: value for key, value in sorted(flat(own)) if not (left_out & set(key.split(".")) or is_usual(key, value))
    }


def is_usual(key: str, value: Any) -> bool:
    """Whether a setting within a group came later, and its value means what was done before."""
    return key in NEWER_WITHIN and value == NEWER_WITHIN[key]


def fingerprint(config: Mapping[str, Any]) -> str:
    """Eight hexadecimal digits that stand for the scientific settings."""
    return digest([scientific(config), trainer_of(config, SPELLED)])


def trainer_of(config: Mapping[str, Any], keys: Sequence[str]) -> dict[str, Any]:
    """Some of the trainer's settings."""
    trainer = config.get("trainer", {})
    return {key: trainer[key] for key in keys if key in trainer}


def digest(value: Any) -> str:
    """Eight hexadecimal digits of any plain value; equal values give equal digits on every machine."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:DIGITS]


def flat(node: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested dicts; a list is a value."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
