"""The configuration, made whole and checked before anything heavy is imported.

Nothing here imports torch: a typing mistake is answered in a fraction of a second.
"""

import os
import platform
import shutil
from collections.abc import Iterable
from pathlib import Path
from typing import Any, cast

from omegaconf import DictConfig, OmegaConf

from dotcom.checkpoint import read_config, read_plain
from dotcom.errors import UsageError, did_you_mean
from dotcom.layout import class_folders

CHOICES: dict[str, tuple[Any, ...]] = {
    "block": ("basic", "mv2", "qg", "qib"),
    "co_bias": (True, False, "first", "second"),
    "data.train_transform.auto_augment": ("rand", "trivial", None),
    "precision": ("32-true", "bf16-mixed", "16-mixed", "bf16-true"),
}
FRACTIONS = ("ema", "label_smoothing", "data.train_transform.random_erasing")
POSITIVE = ("clip", "epochs", "accumulate", "data.batch_size", "data.repeats", "optimizer.lr")


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA GPUs of this machine, counted without torch; at least 1 where the system hides their number."""
    numbered = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    hidden = Path("/dev/dxg").exists() or (os.name == "nt" and shutil.which("nvidia-smi"))  # WSL, Windows
    return 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else max(len(numbered), 1 if hidden else 0)


def found(fact: str) -> Any:
    """What hardware=auto takes from the machine: accelerator, precision, channels_last or num_workers."""
    if gpus():
        facts = {
            "accelerator": "gpu",
            "precision": "bf16-mixed",
            "channels_last": True,
            "num_workers": min(16, cores()),
        }
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        facts = {"accelerator": "mps", "precision": "32-true", "channels_last": False, "num_workers": cores() // 2}
    else:
        facts = {"accelerator": "cpu", "precision": "32-true", "channels_last": True, "num_workers": 0}
    return facts[fact]


def register_resolvers() -> None:
    """Make ``${cores:}``, ``${cores_per_gpu:}``, ``${found:fact}`` and ``${class_folders:root}`` known."""
    OmegaConf.register_new_resolver("cores", lambda: min(16, cores()), replace=True)
    OmegaConf.register_new_resolver("cores_per_gpu", lambda: max(1, cores() // max(1, gpus())), replace=True)
    OmegaConf.register_new_resolver("found", found, replace=True)
    OmegaConf.register_new_resolver("class_folders", lambda root: len(class_folders(root)), replace=True)


def checked(cfg: DictConfig, defaults: DictConfig) -> dict[str, Any]:
    """Resolve ``cfg`` into plain values and check them.

    Args:
        cfg: The composed configuration.
        defaults: The same choices without any ``key=value``; its values tell which types are expected.

    Raises:
        UsageError: One line that names the key, what was expected and what to do.
    """
    check_types(cfg, defaults)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    for key, allowed in CHOICES.items():
        check_choice(key, OmegaConf.select(cfg, key), allowed)
    for key in (*POSITIVE, *FRACTIONS):
        value = OmegaConf.select(cfg, key)
        if value is not None and not (fits(value, 0.0) and (value > 0 if key in POSITIVE else 0 <= value < 1)):
            expected = "a number above 0" if key in POSITIVE else "a number from 0 to below 1"
            raise UsageError(f"{key}={spelled(value)}: expected {expected}")
    if config["clip"] and config["precision"] == "16-mixed" and config["optimizer"].get("fused"):
        raise UsageError("clip with precision=16-mixed: a fused optimizer cannot clip; add optimizer.fused=false")
    check_files(config)
    return config


def check_types(cfg: DictConfig, defaults: DictConfig) -> None:
    """Compare every value that differs from its default with the default's type."""
    for key, value in leaves(cfg):
        default = OmegaConf.select(defaults, key, throw_on_resolution_failure=False)
        if key in CHOICES or default is None or value == default:
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
    if config["weights"]:
        read_plain("weights", config["weights"])
    if not config["ckpt_path"]:
        return
    saved = read_config(config["ckpt_path"])
    for key in ("model.variant", "block", "co_bias", "data.num_classes"):
        asked, stored = (OmegaConf.select(OmegaConf.create(c), key) for c in (config, saved))
        if stored is not None and stored != asked:
            hint = f"model=dotcom_{stored}" if key == "model.variant" else f"{key}={spelled(stored)}"
            raise UsageError(
                f"ckpt_path={config['ckpt_path']}: it holds {key}={spelled(stored)}, not {spelled(asked)}; "
                f"add {hint}, or use weights= to start another network from it"
            )


def spelled(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
