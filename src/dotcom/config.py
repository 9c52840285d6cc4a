"""The configuration, made whole and checked before anything heavy is imported.

Nothing here imports torch: a typing mistake is answered in a fraction of a second.
"""

import sys
from collections.abc import Callable, Container, Iterable, Mapping
from typing import Any, cast

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from dotcom.allowed import CHOICES, METRICS, RANGES, UNTYPED, WHOLE
from dotcom.annotations.coco import coco_classes
from dotcom.annotations.masks import mask_classes
from dotcom.annotations.voc import voc_detection_classes
from dotcom.annotations.voc_masks import voc_classes
from dotcom.annotations.yolo import yolo_classes
from dotcom.checkpoint import check_files, saved_monitor
from dotcom.credentials import check_credentials, spelled_leaves
from dotcom.effects import check_repeats
from dotcom.errors import UsageError, did_you_mean, spelled
from dotcom.hardware import found, loading_cores
from dotcom.hints import check_added
from dotcom.layout import class_folders
from dotcom.prepared import classes_of, note_prepared
from dotcom.preprocessing import expected_by_weights, val_resize
from dotcom.recipe import check_recipe
from dotcom.smoke import check_switches, set_smoke, smoke_folder
from dotcom.text import say
from dotcom.values import ALL_KEYS, check_entries, check_lists, check_reach, check_values
from dotcom.world import is_first, launched

GROUPS = ("task", "data", "trainer", "callbacks", "logger")
MISSING = object()


class NoCredentials(Callback):
    """Looks at what Hydra has composed, also from files of the user, before Hydra writes it to ``.hydra``."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        refuse_credentials(config)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        refuse_credentials(config)


def refuse_credentials(config: DictConfig) -> None:
    """End the program for an address with a password in it: of other exceptions here Hydra makes warnings."""
    try:
        check_credentials(spelled_leaves(OmegaConf.to_container(config, resolve=False)))
    except UsageError as error:
        say(f"error: {error}", sys.stderr)
        sys.exit(2)


def register_resolvers() -> None:
    """Make ``${cores:}``, ``${found:fact}``, ``${best:metric}``, ``${coco_classes:...}`` and so on known."""
    for name, function in resolvers().items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def resolvers() -> dict[str, Callable[..., Any]]:
    """By name, what gives a value that follows from its arguments, files and the machine alone."""
    return {
        "cores": loading_cores,
        "cores_per_gpu": lambda: loading_cores("auto"),
        "found": found,
        "launched": launched,
        "used_score": lambda metric, ema: f"val_ema/{metric}" if ema else f"val/{metric}",
        "best": lambda metric: "min" if metric.endswith("loss") else "max",
        "scaled": lambda size, by: round(size * by),
        "expected": expected_by_weights,
        "val_resize": val_resize,
        "class_folders": classes_of(lambda root: len(class_folders(root))),
        "coco_classes": classes_of(coco_classes),
        "mask_classes": classes_of(mask_classes),
        "yolo_classes": classes_of(yolo_classes),
        "voc_classes": voc_classes,
        "voc_detection_classes": voc_detection_classes,
        "smoke_folder": smoke_folder,
        "own_weights": lambda weights: None if weights == "timm" else weights,
        "timm_weights": lambda weights: weights == "timm",
    }


def checked(cfg: DictConfig, defaults: DictConfig) -> dict[str, Any]:
    """Resolve ``cfg`` into plain values and check them.

    Args:
        cfg: The composed configuration.
        defaults: The same choices without any ``key=value``; its values tell which types are expected.

    Raises:
        UsageError: One line that names the key, what was expected and what to do.
    """
    return check_whole(cfg, defaults, resolve_checked(cfg, defaults))


def resolve_checked(cfg: DictConfig, defaults: DictConfig) -> dict[str, Any]:
    """Plain values of ``cfg``, each of them checked by itself; the first half of ``checked``."""
    check_keys(cfg, defaults)
    check_added(cfg, defaults)
    check_repeats(cfg, defaults)
    check_values(cfg, defaults)
    check_types(cfg, defaults)
    keep_monitor(cfg)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg, resolve=True, throw_on_missing=True))
    check_credentials(spelled_leaves(config))
    check_allowed(cfg, config)
    return config


def check_varied(
    cfg: DictConfig, defaults: DictConfig, config: dict[str, Any], given: DictConfig, touched: Container[str]
) -> None:
    """Check single values that were given to a configuration that ``resolve_checked`` has passed.

    Args:
        cfg: The configuration with these values.
        defaults: As in ``checked``.
        config: Plain values of ``cfg``.
        given: The values alone, none of which is a group, a list, or refers to another one.
        touched: Their keys, and those of all that depends on them.

    Raises:
        UsageError: As in ``checked``.
    """
    check_entries(given, defaults)
    check_lists(cfg, defaults, touched)
    check_types(given, defaults)
    check_allowed(cfg, config, touched)


def check_allowed(cfg: DictConfig, config: dict[str, Any], keys: Container[str] = ALL_KEYS) -> None:
    """Raise UsageError if one of ``keys`` has a value that is not among its choices, or not in its range."""
    metrics = METRICS[config["task"]["_target_"].rpartition(".")[2]]
    monitors = tuple(f"{network}/{metric}" for network in ("val", "val_ema") for metric in metrics)
    check_choices(cfg, CHOICES | {"monitor": monitors}, keys)
    check_ranges(cfg, keys)


def check_whole(cfg: DictConfig, defaults: DictConfig, config: dict[str, Any]) -> dict[str, Any]:
    """Check what more than one value decides; the second half of ``checked``.

    Args:
        cfg: As in ``checked``.
        defaults: Likewise.
        config: What ``resolve_checked`` has returned; it is completed.

    Raises:
        UsageError: As in ``checked``.
    """
    if config["clip"] and config["precision"] == "16-mixed" and config["optimizer"].get("fused"):
        raise UsageError("clip with precision=16-mixed: a fused optimizer cannot clip; add optimizer.fused=false")
    if config["monitor"].startswith("val_ema") and not config["ema"]:
        raise UsageError(f"monitor={config['monitor']}: there is no moving average; add ema=0.999")
    check_model(config)
    check_checkpointing(config)
    check_recipe(config)
    check_reach(cfg, defaults, config)
    note_prepared(config["data"])
    check_switches(config)
    if config["smoke"]:
        set_smoke(config)
    check_files(config)
    return config


def keep_monitor(cfg: DictConfig) -> None:
    """A run that goes on keeps the score that has chosen its epochs so far, unless another one is asked for.

    Before there was a default for ``ema``, all runs were chosen by the network itself.
    """
    if cfg.resume and cfg.fit and cfg.ema and OmegaConf.is_interpolation(cfg, "monitor"):
        before = saved_monitor(cfg.output_dir)
        if before is not None and before != cfg.monitor:
            if is_first():
                print(f"monitor={before}: as this run began; a new run with ema chooses its epoch by {cfg.monitor}")
            cfg.monitor = before


def check_model(config: dict[str, Any]) -> None:
    """No setting of another kind of network was given, and what the network needs was."""
    ours, timm = "co_bias" in config["model"], "name" in config["model"]
    if timm and not config["model"]["name"]:
        raise UsageError("name: no value; expected a network of timm, such as model=timm name=repvit_m1_0")
    if config["name"] and config["model"].get("name") != config["name"]:
        raise UsageError(f"name={config['name']}: expected model=timm with it")
    if not ours and (config["co_bias"] is not True or config["block"] != "qib"):
        raise UsageError("co_bias and block: expected a model of DoTCoM with them; other networks have neither")
    if config["weights"] == "timm" and not timm:
        raise UsageError("weights=timm: expected model=timm with it, or weights=<file>")
    if config["pyramid"] and config["data"]["batch_size"] < 2:
        raise UsageError("data.batch_size=1: expected 2 or more, to normalise maps of one pixel over a batch")


def check_checkpointing(config: dict[str, Any]) -> None:
    """The stages to run again are stages that the network has."""
    stages = config["checkpointing"]
    if stages != "all" and not (isinstance(stages, list) and all(type(n) is int and 0 <= n <= 4 for n in stages)):
        expected = "expected all, or a list of numbers from 0 (the stem) to 4, such as [1,2]"
        raise UsageError(f"checkpointing={spelled(stages)}: {expected}")
    if stages and "name" in config["model"]:
        raise UsageError(
            f"checkpointing={spelled(stages)}: expected a network of ours with it; those of timm have none"
        )


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
        if key in WHOLE and not (value is None or fits(value, 1)):
            raise UsageError(f"{key}={spelled(value)}: expected a whole number, or null")
        if key in CHOICES or key == "monitor" or key in UNTYPED or default is None:
            continue
        expected = expected_type(default)
        if expected and not fits(value, default):
            raise UsageError(f"{key}={spelled(value)}: expected {expected}, such as the default {spelled(default)}")


def check_ranges(cfg: DictConfig, keys: Container[str] = ALL_KEYS) -> None:
    """Raise UsageError if the number at one of ``keys`` is outside of what makes sense."""
    for expected, (inside, limited) in RANGES.items():
        for key in (key for key in limited if key in keys):
            value = OmegaConf.select(cfg, key)
            if value is not None and not (fits(value, 0.0) and inside(value)):
                raise UsageError(f"{key}={spelled(value)}: expected {expected}")


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


def check_data(cfg: DictConfig, defaults: DictConfig) -> None:
    """Check the settings of the data alone, as ``checked`` does: of a command that trains nothing.

    Args:
        cfg: A configuration with ``data``; of anything else in it nothing is said.
        defaults: The same without any ``key=value``.

    Raises:
        UsageError: One line that names the key, what was expected and what to do.
    """
    check_values(cfg, defaults)
    check_types(cfg, defaults)
    check_choices(cfg, {key: allowed for key, allowed in CHOICES.items() if key.startswith("data.")})
    check_ranges(cfg)


def check_choices(cfg: DictConfig, choices: Mapping[str, tuple[Any, ...]], keys: Container[str] = ALL_KEYS) -> None:
    """Raise UsageError for a value that is none of those that its key may have; some keys are of one task only."""
    for key, allowed in choices.items():
        if key in keys and (value := OmegaConf.select(cfg, key, default=MISSING)) is not MISSING:
            check_choice(key, value, allowed)


def check_choice(key: str, value: Any, allowed: tuple[Any, ...]) -> None:
    """Raise UsageError unless ``value`` is one of ``allowed``."""
    if not any(value == choice and type(value) is type(choice) for choice in allowed):
        word, known = spelled(value), [spelled(choice) for choice in allowed]
        raise UsageError(f"{key}={word}: expected {' | '.join(known)}{did_you_mean(word, known)}")
