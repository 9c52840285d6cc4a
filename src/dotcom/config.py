"""The configuration, made whole and checked before anything heavy is imported.

Nothing here imports torch: a typing mistake is answered in a fraction of a second.
"""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from dotcom.checkpoint import MUST_MATCH, check_match, check_resumable, config_of, read_plain
from dotcom.errors import UsageError, did_you_mean, spelled
from dotcom.hardware import cores, found, gpus, loading_cores
from dotcom.layout import class_folders

CHOICES: dict[str, tuple[Any, ...]] = {
    "block": ("basic", "mv2", "qg", "qib"),
    "co_bias": (True, False, "first", "second"),
    "data.train_transform.auto_augment": ("rand", "trivial", None),
    "monitor": tuple(f"{network}/{metric}" for network in ("val", "val_ema") for metric in ("top1", "top5", "loss")),
    "precision": ("32-true", "bf16-mixed", "16-mixed"),
}
RANGES: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {  # in words: the test, and the dotted keys
    "a number above 0": (
        lambda value: value > 0,
        ("clip", "epochs", "accumulate", "data.batch_size", "data.repeats", "optimizer.lr"),
    ),
    "a number from 0 on": (
        lambda value: value >= 0,
        ("data.num_workers", "data.mixup", "data.cutmix", "optimizer.weight_decay"),
    ),
    "a number from 0 to below 1": (
        lambda value: 0 <= value < 1,
        ("label_smoothing", "data.train_transform.random_erasing", "scheduler.warmup"),
    ),
    "a number above 0 and below 1": (lambda value: 0 < value < 1, ("ema",)),
    "a number above 0, up to 1": (lambda value: 0 < value <= 1, ("data.train_transform.min_scale",)),
    "a number from 0 to 1": (lambda value: 0 <= value <= 1, ("scheduler.floor",)),
    "a number from 0 to 4294967295": (lambda value: 0 <= value < 2**32, ("seed",)),
    "a multiple of 32 above 0": (lambda value: value > 0 and value % 32 == 0, ("image_size",)),
}
GROUPS = ("task", "data", "trainer", "callbacks", "logger")
UNTYPED = ("hardware.devices", "trainer.devices")  # a number, a list of numbers, or auto


def register_resolvers() -> None:
    """Make ``${cores:}``, ``${cores_per_gpu:}``, ``${found:fact}``, ``${best:metric}`` and so on known."""
    OmegaConf.register_new_resolver("cores", loading_cores, replace=True)
    OmegaConf.register_new_resolver("cores_per_gpu", lambda: max(1, cores() // max(1, gpus())), replace=True)
    OmegaConf.register_new_resolver("found", found, replace=True)
    OmegaConf.register_new_resolver("best", lambda metric: "min" if metric.endswith("loss") else "max", replace=True)
    OmegaConf.register_new_resolver("scaled", lambda size, by: round(size * by), replace=True)
    OmegaConf.register_new_resolver("class_folders", lambda root: len(class_folders(root)), replace=True)


def checked(cfg: DictConfig, defaults: DictConfig) -> dict[str, Any]:
    """Resolve ``cfg`` into plain values and check them.

    Args:
        cfg: The composed configuration.
        defaults: The same choices without any ``key=value``; its values tell which types are expected.

    Raises:
        UsageError: One line that names the key, what was expected and what to do.
    """
    check_keys(cfg, defaults)
    check_types(cfg, defaults)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    for key, allowed in CHOICES.items():
        check_choice(key, OmegaConf.select(cfg, key), allowed)
    for expected, (inside, keys) in RANGES.items():
        for key in keys:
            value = OmegaConf.select(cfg, key)
            if value is not None and not (fits(value, 0.0) and inside(value)):
                raise UsageError(f"{key}={spelled(value)}: expected {expected}")
    if config["clip"] and config["precision"] == "16-mixed" and config["optimizer"].get("fused"):
        raise UsageError("clip with precision=16-mixed: a fused optimizer cannot clip; add optimizer.fused=false")
    if config["monitor"].startswith("val_ema") and not config["ema"]:
        raise UsageError(f"monitor={config['monitor']}: there is no moving average; add ema=0.999")
    check_files(config)
    return config


def check_keys(cfg: DictConfig, defaults: DictConfig) -> None:
    """Nothing that a run needs was removed, and nothing was added that nobody reads."""
    for key in sorted(set(map(str, cfg)) - set(map(str, defaults))):
        raise UsageError(f"{key}: no such setting{did_you_mean(key, map(str, defaults))}")
    for group in GROUPS:
        if not cfg.get(group):
            raise UsageError(f"{group}: expected a choice, it cannot be left out; python train.py --help lists them")


def check_types(cfg: DictConfig, defaults: DictConfig) -> None:
    """Compare every value that differs from its default with the default's type."""
    for key, value in leaves(cfg):
        default = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)
        if key in CHOICES or key in UNTYPED or default is None or value == default:
            continue
        expected = expected_type(default)
        if expected and not fits(value, default):
            raise UsageError(f"{key}={value}: expected {expected}, such as the default {default}")


def expected_type(default: Any) -> str | None:
    """The type of a default in words; None where anything goes."""
    kinds = {bool: "true or false", int: "a whole number", float: "a number"}
    return kinds.get(type(default))


def fits(value: Any, default: Any) -> bool:
    """Whether ``value`` may stand where ``default`` stood: an int is a float, but a bool is no int."""
    if isinstance(default, bool) or isinstance(value, bool):
        return isinstance(value, bool) and isinstance(default, bool)
    return isinstance(value, int if isinstance(default, int) else (int, float))


def leaves(node: Any, prefix: str = "") -> Iterable[tuple[str, Any]]:
    """Dotted keys and resolved values; what cannot be resolved is left to the resolution proper."""
    for key in node:
        path = f"{prefix}{key}"
        if OmegaConf.is_interpolation(node, key) or OmegaConf.is_missing(node, key):
            continue
        value = node[key]
        if isinstance(value, DictConfig):
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def check_choice(key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise UsageError unless ``value`` is one of ``allowed``."""
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        word, known = spelled(value), [spelled(choice) for choice in allowed]
        raise UsageError(f"{key}={word}: expected {' | '.join(known)}{did_you_mean(word, known)}")


def check_files(config: dict[str, Any]) -> None:
    """Checkpoints named by the configuration exist, are checkpoints, and fit the network."""
    if not config["fit"] and not config["ckpt_path"]:
        raise UsageError("fit=false: expected ckpt_path=<file>, the checkpoint to evaluate")
    if config["weights"] and config["ckpt_path"]:
        raise UsageError("weights and ckpt_path: expected one; weights= starts a run, ckpt_path= resumes one")
    if (Path(config["output_dir"]) / "metrics.csv").exists() and "LOCAL_RANK" not in os.environ:
        raise UsageError(f"hydra.run.dir={config['output_dir']}: it holds a run already; choose another folder")
    for setting, keys, advice in (
        ("weights", ("model.variant", "block"), ""),
        ("ckpt_path", MUST_MATCH, ", or use weights= to start another network from it"),
    ):
        if config[setting]:
            config[setting] = path = str(Path(str(config[setting])).expanduser())
            content = read_plain(setting, path)
            if setting == "ckpt_path" or (isinstance(content, dict) and "config" in content):
                saved = OmegaConf.create(config_of(setting, path, content))
                check_match(f"{setting}={path}", saved, OmegaConf.create(config), keys, advice)
            if setting == "ckpt_path":
                check_resumable(f"ckpt_path={path}", content, config)
