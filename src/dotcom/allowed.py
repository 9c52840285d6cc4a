"""Which values the settings may have: closed choices, ranges of numbers, and the metrics of each task."""

from collections.abc import Callable
from typing import Any

CHOICES: dict[str, tuple[Any, ...]] = {
    "block": ("basic", "mv2", "qg", "qib"),
    "lr_scaling": ("linear", "sqrt", None),
    "co_bias": (True, False, "first", "second"),
    "compile": (False, True, "default", "reduce-overhead", "max-autotune"),
    "data.pin_memory": (True, False, None),
    "data.train_transform.auto_augment": ("rand", "trivial", None),
    "float32_matmul": ("highest", "high", "medium"),
    "decayed": ("all", "matrices"),
    "distill": ("soft", "hard"),
    "head": ("deeplabv3", "mobilevit"),
    "loss": ("hard_negative", "focal"),
    "retry": ("failed", None),
    "separable": (True, False, None),
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
}
METRICS = {  # what each task measures, by the name of its class
    "Classification": ("top1", "top5", "loss"),
    "Detection": ("map", "map_50", "map_75", "map_small", "map_medium", "map_large", "loss"),
    "Segmentation": ("miou", "pixel_accuracy", "loss"),
}
RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {  # in words: the test, and the dotted keys
    "a number above 0": (
        lambda value: value > 0,
        (
            "average_best",
            "clip",
            "distill_temperature",
            "epochs",
            "accumulate",
            "job_timeout",
            "join_timeout",
            "lr_batch",
            "save_every_steps",
            "save_every_minutes",
            "data.batch_size",
            "data.val_batch_size",
            "data.repeats",
            "data.prefetch",
            "data.worker_threads",
            "optimizer.lr",
        ),
    ),
    "a number from 0 on": (
        lambda value: value >= 0,
        ("data.num_workers", "data.mixup", "data.cutmix", "optimizer.weight_decay", "freeze"),
    ),
    "a number from 0 to below 1": (
        lambda value: 0 <= value < 1,
        ("label_smoothing", "data.train_transform.random_erasing", "scheduler.warmup"),
    ),
    "a number above 0 and below 1": (lambda value: 0 < value < 1, ("ema",)),
    "a number above 0, up to 1": (
        lambda value: 0 < value <= 1,
        ("data.train_transform.min_scale", "backbone_lr", "distill_weight", "layer_decay", "progressive_until"),
    ),
    "a number from 1 on": (lambda value: value >= 1, ("data.train_transform.zoom_out",)),
    "a number from 0 to 1": (lambda value: 0 <= value <= 1, ("scheduler.floor",)),
    "a number from 0 to 4294967295": (lambda value: 0 <= value < 2**32, ("seed",)),
    "a multiple of 32 above 0": (lambda value: value > 0 and value % 32 == 0, ("image_size", "progressive")),
}
