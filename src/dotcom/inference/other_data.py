"""What a checkpoint is evaluated on: its own data, changed by overrides, or a choice of ``conf/data``. No torch."""

import re
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from dotcom.config import check_data, register_resolvers
from dotcom.errors import CONF, UsageError, did_you_mean, dotted, listed
from dotcom.fingerprint import NEWER_WITHIN, flat
from dotcom.inference.saved_run import SavedRun
from dotcom.object_store import is_remote
from dotcom.prepared import note_prepared
from dotcom.resume import at
from dotcom.values import check_cut, check_memory, check_workers

DOWNLOADED = ("cifar10", "cifar100", "fashion_mnist")  # functions of dotcom.data that ask a host for what is not there


def data_config(run: SavedRun, given: Sequence[str]) -> dict[str, Any]:
    """The ``data`` of a configuration, as plain values.

    Args:
        run: The checkpoint.
        given: ``data=CHOICE`` and ``data.KEY=VALUE``, as ``train.py`` reads them.

    Raises:
        UsageError: For anything else, for data of another task or of another number of classes, and if the folder of
            the data is not there.
    """
    register_resolvers()
    overrides = {override.key_or_group: override for override in OverridesParser.create().parse_overrides(list(given))}
    for key, override in overrides.items():
        if key != "data" and not key.startswith("data."):
            raise UsageError(f"{key}: expected data=CHOICE or data.KEY=VALUE; all else is as in the checkpoint")
        if override.is_sweep_override() or override.is_add() or override.is_delete():
            raise UsageError(f"{override.input_line}: expected one value, as in {key}=value")
    change = _chosen if "data" in overrides else _own
    cfg, defaults = change(run, overrides)
    for key in overrides:
        if key != "data" and isinstance(group := OmegaConf.select(defaults, key), DictConfig):
            within = [f"{key}.{name}=..." for name in map(str, group) if not name.startswith("_")]
            raise UsageError(f"{key}: a group of settings; expected one of {listed(within)}")
    check_data(cfg, defaults)
    config = cast(dict[str, Any], OmegaConf.to_container(cfg.data, resolve=True, throw_on_missing=True))
    check_reach(config, set(overrides))
    if "data" not in overrides:
        check_named(run.config["data"], overrides)
    if config["num_classes"] > len(run.classes):
        raise UsageError(f"data: {config['num_classes']} classes; the checkpoint knows {len(run.classes)}")
    note_prepared(config)
    if (
        config.get("root") is not None
        and not is_remote(config["root"])
        and not Path(str(config["root"])).expanduser().is_dir()
    ):
        raise UsageError(f"data.root={config['root']}: no such folder; set it with data.root=PATH")
    return config


def check_reach(config: dict[str, Any], given: set[str]) -> None:
    """What was given can be done on this machine; what a checkpoint brings, from another one, is left as it is."""
    if "data.num_workers" in given:
        check_workers(config["num_workers"])
    if given & {"data.batch_size", "data.val_batch_size", "data.val_transform.image_size"}:
        key = "val_batch_size" if config.get("val_batch_size") else "batch_size"
        check_memory(key, config[key], config["val_transform"].get("image_size") or 0)
    if given & {"data.val_transform.resize", "data.val_transform.image_size"}:
        check_cut(config)


def _own(run: SavedRun, overrides: dict[str, Override]) -> tuple[DictConfig, DictConfig]:
    """The data of the run with changes, and without."""
    known = [key for key in dotted({"data": run.config["data"]}) if not key.endswith(("_target_", "_partial_"))]
    defaults = OmegaConf.create({"data": literal(run.config["data"])})
    cfg = defaults.copy()
    for key, override in overrides.items():
        if key not in known:
            hint = did_you_mean(key, known) or f"; expected one of {listed(known[1:], limit=40)}"
            raise UsageError(f"{key}: the data of this checkpoint have no such setting{hint}")
        OmegaConf.update(cfg, key, override.value())
    return cfg, defaults


def check_named(data: Mapping[str, Any], given: Collection[str]) -> None:
    """Raise UsageError for a path or a host that only the checkpoint names: whoever made it may be anybody.

    Args:
        data: Of the checkpoint's configuration.
        given: Keys of the command line.
    """
    root, function = data.get("root"), str(data["dataset"].get("_target_")).rpartition(".")[2]
    if function in DOWNLOADED:
        raise UsageError(
            f"data: these data are downloaded where they are not there; to allow it, name them: data={function}"
        )
    if root is not None and "data.root" not in given:
        raise UsageError(
            f"data.root: the checkpoint names {root}; a path or an address in a file is used only if the command "
            f"repeats it: data.root={spelled_for_shell(root)}, or the folder where the data are now"
        )
    for key, value in flat(data["dataset"], "data.dataset."):
        within = [key, *(key[:end] for end, letter in enumerate(key) if letter == ".")]
        texts = [text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)]
        if any(map(leads_out, texts)) and not set(within) & set(given):
            where = f"{key}: the checkpoint names {', '.join(texts)}, outside of data.root"
            raise UsageError(f"{where}; a path in a file is used only if the command repeats it")


def leads_out(path: str) -> bool:
    """Whether a path or an address leads out of the folder that it is relative to."""
    return "://" in path or Path(path).is_absolute() or ".." in Path(path).parts


def spelled_for_shell(value: object) -> str:
    """A value as one writes it in a shell."""
    return shlex.quote(str(value))


def literal(value: Any) -> Any:
    """Plain values of a file, as OmegaConf takes them for what they are: ``${...}`` in text stays as it is."""
    if isinstance(value, Mapping):
        return {key: literal(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [literal(inner) for inner in value]
    if isinstance(value, str) and "${" in value:
        return re.sub(r"(\\*)\$\{", lambda found: 2 * found[1] + r"\${", value)
    return value


def _chosen(run: SavedRun, overrides: dict[str, Override]) -> tuple[DictConfig, DictConfig]:
    """A choice of ``conf/data`` with changes, and without, at the image size of the run."""
    if not CONF.is_dir():
        raise UsageError("data=CHOICE: expected a checkout of dotcom, whose conf/data has the choices")
    choice = f"data={overrides['data'].value()}"
    base = [choice, f"image_size={run.config['image_size']}"]
    changes = [str(override.input_line) for key, override in overrides.items() if key != "data"]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg, defaults = compose("config", [*base, *changes]), compose("config", base)
    task = str(cfg.task._target_).rpartition(".")[2]
    if task != run.task:
        raise UsageError(f"{choice}: data for {task}; the checkpoint is for {run.task}")
    for key in ("data.mean", "data.std", "data.val_transform.interpolation"):  # as the network was trained
        before = at(run.config, key)
        if key not in overrides and OmegaConf.select(cfg, key) is not None:
            OmegaConf.update(cfg, key, NEWER_WITHIN[key] if before is None else literal(before))
    return cfg, defaults
