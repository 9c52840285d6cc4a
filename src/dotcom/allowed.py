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
    "data.train_transform.interpolation": ("bilinear", "bicubic"),
    "data.val_transform.interpolation": ("bilinear", "bicubic"),
    "callbacks.average.mode": ("max", "min"),
    "callbacks.best.mode": ("max", "min"),
    "float32_matmul": ("highest", "high", "medium"),
    "decayed": ("all", "matrices"),
    "distill": ("soft", "hard"),
    "hardware.accelerator": ("auto", "cpu", "gpu", "cuda", "mps"),
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
WHOLE = ("save_every_steps", "average_best", "progressive", "data.prefetch", "data.val_batch_size")  # null by default
UNTYPED = ("hardware.devices", "trainer.devices", "slots")  # a number, a list of numbers, or auto
RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {  # in words: the test, and the dotted keys
    "a multiple of 32 above 0, up to 8192": (
        lambda value: 0 < value <= 8192 and value % 32 == 0,
        ("image_size", "progressive", "data.train_transform.image_size", "data.val_transform.image_size"),
    ),
    "a number above 0": (
        lambda value: value > 0,
        (
            "clip",
            "distill_temperature",
            "job_timeout",
            "learning_rates.adamw",
            "learning_rates.sgd",
            "save_every_steps",
            "save_every_minutes",
            "optimizer.lr",
            "optimizer.eps",
        ),
    ),
    "a number above 0, up to a million": (
        lambda value: 0 < value <= 10**6,
        (
            "epochs",
            "accumulate",
            "join_timeout",
            "lr_batch",
            "data.batch_size",
            "data.num_classes",
            "data.val_batch_size",
            "hardware.num_nodes",
            "trainer.log_every_n_steps",
        ),
    ),
    "a number above 0, up to a thousand": (
        lambda value: 0 < value <= 1000,
        ("average_best", "data.repeats", "data.prefetch", "data.worker_threads"),
    ),
    "a number from 0 on": (
        lambda value: value >= 0,
        ("data.num_workers", "hardware.num_workers", "optimizer.weight_decay"),
    ),
    "a number from 0 on, up to a million": (
        lambda value: 0 <= value <= 10**6,
        ("data.mixup", "data.cutmix", "freeze"),
    ),
    "a number from 0 to below 1": (
        lambda value: 0 <= value < 1,
        ("label_smoothing", "data.train_transform.random_erasing", "scheduler.warmup", "optimizer.momentum"),
    ),
    "a number above 0 and below 1": (lambda value: 0 < value < 1, ("ema",)),
    "a number above 0, up to 1": (
        lambda value: 0 < value <= 1,
        ("data.train_transform.min_scale", "backbone_lr", "distill_weight", "layer_decay", "progressive_until"),
    ),
    "a number from 1 on, up to 16": (lambda value: 1 <= value <= 16, ("data.train_transform.zoom_out",)),
    "a number from 1 on, up to a thousand": (lambda value: 1 <= value <= 1000, ("callbacks.pictures.images",)),
    "a number from -1 on, up to a million": (lambda value: -1 <= value <= 10**6, ("trainer.num_sanity_val_steps",)),
    "a number from 0 to 1": (lambda value: 0 <= value <= 1, ("scheduler.floor", "optimizer.dampening")),
    "a number from 0 to 4294967295": (lambda value: 0 <= value < 2**32, ("seed", "data.seed")),
    "a number of pixels from 1 to 16384": (lambda value: 1 <= value <= 16384, ("data.val_transform.resize",)),
}
