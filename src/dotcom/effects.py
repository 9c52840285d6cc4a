"""Settings that were given and would have no effect; nothing here imports torch.

A sweep may pass settings along that only some of its runs read, so a run refuses such a setting only if it stands by
itself, and a sweep only if none of its runs reads it.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import Container, DictConfig, OmegaConf

from dotcom.checkpoint import config_of
from dotcom.errors import UsageError, spelled
from dotcom.plain_pickle import read_plain
from dotcom.resume import TRAINING, among, override_for, value_of

REPEATING = ("task.", "trainer.", "model.", "data.", "callbacks.")
LENT = ("image_size", "monitor", "output_dir", "hardware.num_workers", "data.root", "seed")  # where others may stand
OF_A_SWEEP = ("slots", "retry", "status", "plan", "job_timeout")


def check_repeats(cfg: DictConfig, defaults: DictConfig) -> None:
    """What only repeats another setting was not set by itself: a run would record one and do the other."""
    for key, source in repeats(defaults):
        node: Any = cfg
        for part in key.split("."):
            node = node._get_node(part, validate_access=False) if isinstance(node, DictConfig) else None
        if node is not None and not node._is_interpolation():
            value = spelled(node if isinstance(node, Container) else node._value())
            raise UsageError(f"{key}={value}: it repeats {source}; set {source}={value} instead")
    if cfg.pyramid != defaults.pyramid:
        raise UsageError(f"pyramid={spelled(cfg.pyramid)}: the task sets it; leave it out")


def repeats(node: DictConfig, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted keys of the groups that repeat settings, such as ``trainer.max_epochs``, each with what it repeats."""
    for name in map(str, node):
        key, raw = f"{prefix}{name}", node._get_node(name)
        if isinstance(raw, DictConfig) and not raw._is_interpolation():
            yield from repeats(raw, f"{key}.")
        elif key.startswith(REPEATING):
            source = re.fullmatch(r"\$\{(?:\w+:\$\{)?([a-z_.]+)\}+", str(raw._value()))  # type: ignore[union-attr]
            if source and source[1] not in LENT:
                yield key, source[1]


def check_effects(cfg: DictConfig, defaults: DictConfig, config: Mapping[str, Any], chosen: Sequence[str]) -> None:
    """Every setting that was given to a run has a part in it.

    Raises:
        UsageError: One line that names the key and what to add or to leave out.
    """
    idle = idle_settings(cfg, defaults, config, chosen)
    for line in idle.values():
        raise UsageError(line)


def check_sweep_effects(idle: Sequence[Mapping[str, str]]) -> None:
    """Every setting that was given to a sweep has a part in one of its runs, by what ``idle_settings`` says of each."""
    for key, line in idle[0].items():
        if all(key in others for others in idle):
            raise UsageError(line)


def check_single(cfg: DictConfig, defaults: DictConfig) -> None:
    """No setting of a sweep was given to a single run."""
    for key in OF_A_SWEEP:
        if cfg[key] != defaults[key]:
            raise UsageError(
                f"{key}={spelled(cfg[key])}: expected -m with it; it is of a sweep (hydra/launcher=dotcom)"
            )


def idle_settings(
    cfg: DictConfig,
    defaults: DictConfig,
    config: Mapping[str, Any],
    chosen: Sequence[str] = (),
    asked: set[str] | None = None,
) -> dict[str, str]:
    """Keys that were given and that nothing reads, each with the line to say about it.

    Args:
        cfg: The composed configuration.
        defaults: The same choices without any ``key=value``.
        config: Plain values of ``cfg``.
        chosen: The choices that were given, such as ``optimizer=sgd``.
        asked: What ``given`` says of them, where that is known already.
    """
    asked = given(cfg, defaults) if asked is None else asked
    if not config["fit"]:
        return idle_in_evaluation(asked, config, chosen)
    idle = {}
    if "lr_batch" in asked and config["lr_scaling"] is None:
        idle["lr_batch"] = "lr_batch: expected lr_scaling=linear or sqrt with it, which reads it"
    kind = str(config["optimizer"]["_target_"]).rpartition(".")[2].lower()
    for key in (key for key in asked if key.startswith("learning_rates.")):
        if key != f"learning_rates.{kind}":
            idle[key] = f"{key}: expected optimizer={key.partition('.')[2]} with it; this run has {kind}"
        elif "optimizer.lr" in asked:
            idle[key] = f"{key} and optimizer.lr: expected one; optimizer.lr is the one that counts"
    own_workers = not OmegaConf.is_interpolation(cfg.data, "num_workers")  # else they are those of this machine
    if own_workers and config["data"]["num_workers"] == 0:
        for key in asked & {"data.prefetch", "data.worker_threads"}:
            idle[key] = f"{key}: expected data.num_workers=1 or more with it; without loader processes nothing reads it"
    if config.get("teacher") and config["distill_weight"] == 1 and "label_smoothing" in asked:
        idle["label_smoothing"] = "label_smoothing: expected distill_weight below 1 with it; the labels have no part"
    return idle


def idle_in_evaluation(asked: set[str], config: Mapping[str, Any], chosen: Sequence[str]) -> dict[str, str]:
    """What an evaluation has no use for, and says other than the run that it evaluates."""
    saved = config_of("ckpt_path", config["ckpt_path"], read_plain("ckpt_path", config["ckpt_path"]))
    groups = [
        f"{group}._target_" for group in ("optimizer", "scheduler") if any(c.startswith(f"{group}=") for c in chosen)
    ]
    idle = {}
    for key in sorted(key for key in (*asked, *groups) if among(key, TRAINING)):
        if value_of(saved, key) != value_of(config, key):
            new, old = override_for(key, config, saved), override_for(key, saved, config).partition("=")[2]
            idle[key] = f"{new}: fit=false trains nothing, and the run of the checkpoint had {old}; leave it out"
    if config["resume"]:
        idle["resume"] = "resume=true: expected fit=true with it; fit=false trains nothing"
    return idle


def given(cfg: DictConfig, defaults: DictConfig, prefix: str = "") -> set[str]:
    """Dotted keys whose value is not the one that the choices bring."""
    found = set()
    for name in map(str, cfg):
        key = f"{prefix}{name}"
        mine, usual = cfg._get_node(name), defaults._get_node(name, validate_access=False)
        if isinstance(mine, DictConfig) and isinstance(usual, DictConfig) and not mine._is_interpolation():
            found |= given(mine, usual, f"{key}.")
        elif usual is None or mine != usual:
            found.add(key)
    return found
