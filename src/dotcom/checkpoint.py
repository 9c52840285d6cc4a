"""Looking into a checkpoint without torch, and without running anything that it holds."""

from pathlib import Path
from typing import Any

from dotcom.errors import UsageError, spelled
from dotcom.plain_pickle import is_plain_tensor, read_plain
from dotcom.resume import (
    GROUPING,
    NETWORK,
    PLACE,
    SAME_BACKBONE,
    Compared,
    Config,
    at,
    changed,
    differing,
    override_for,
    own_settings,
    select,
    value_of,
)
from dotcom.safetensors import SUFFIX, check_safetensors
from dotcom.state_dicts import contents, state_dicts
from dotcom.text import say
from dotcom.world import is_first


def check_files(config: dict[str, Any]) -> None:
    """Checkpoints named by the configuration exist, are checkpoints, and fit the network."""
    if not config["fit"] and not config["ckpt_path"]:
        raise UsageError("fit=false: expected ckpt_path=<file>, the checkpoint to evaluate")
    if config["weights"] and config["ckpt_path"]:
        raise UsageError("weights and ckpt_path: expected one; weights= starts a run, ckpt_path= resumes one")
    check_folder(config)
    own = config["resume"] and config["ckpt_path"] == str(Path(config["output_dir"]) / "last.ckpt")
    same = own_settings(config) if own else NETWORK
    for setting, keys, advice in (
        ("weights", SAME_BACKBONE, ""),
        ("ckpt_path", same, "" if own else ", or use weights= to start another network from it"),
    ):
        if config[setting] and config[setting] != "timm":
            config[setting] = path = str(Path(str(config[setting])).expanduser())
            if setting == "weights" and path.endswith(SUFFIX):
                check_safetensors(setting, Path(path))
                continue
            content = read_plain(setting, path)
            where = f"hydra.run.dir={config['output_dir']}" if own and setting == "ckpt_path" else f"{setting}={path}"
            if setting == "ckpt_path" or is_of_ours(content):
                saved = config_of(setting, path, content)
                check_match(where, saved, config, keys, advice, value_of if own else select)
            if setting == "weights":
                check_weights(path, content)
            if setting == "ckpt_path":
                check_resumable(where, content, config)
            if setting == "ckpt_path" and own:
                say_if_moved(config, content["config"])


def check_weights(path: str, content: Any) -> None:
    """Raise UsageError unless a file has tensors under one of the keys that are usual."""
    if not state_dicts(content, is_plain_tensor):
        found = contents(content, is_plain_tensor)
        expected = "expected a state dict, or one under a key such as state_dict or model"
        raise UsageError(f"weights={path}: no weights under a known key; it holds {found}; {expected}")


def is_of_ours(content: Any) -> bool:
    """Whether a file is a checkpoint of a run of ours; other programs have a ``config`` of their own."""
    config = content.get("config") if isinstance(content, dict) else None
    return isinstance(config, dict) and isinstance(config.get("task"), dict) and "model" in config


def saved_monitor(folder: str) -> str | None:
    """The score by which the run in a folder chooses its epochs; None if there is no such run."""
    last = Path(folder) / "last.ckpt"
    if not last.exists():
        return None
    content = read_plain("resume", str(last))
    monitor = content["config"].get("monitor") if is_of_ours(content) else None
    return monitor if isinstance(monitor, str) else None


def say_if_moved(config: dict[str, Any], before: dict[str, Any]) -> None:
    """Say if the data of the run have moved, or are others."""
    roots = [at(settings, "data.root") for settings in (before, config)]
    if roots[0] != roots[1] and is_first():
        say("warning: the run began with data.root={}, not {}; go on only if both hold the same".format(*roots))


def check_folder(config: dict[str, Any]) -> None:
    """The folder holds no other run; with ``resume``, go on with the run that it holds."""
    folder = Path(config["output_dir"])
    last = folder / "last.ckpt"
    if config["resume"] and config["ckpt_path"] and not config["sweep"]:
        raise UsageError("resume and ckpt_path: expected one; resume=true goes on with what is in hydra.run.dir")
    if config["resume"] and config["fit"] and last.exists():  # in a job of a sweep, ckpt_path was where it began
        config["ckpt_path"] = str(last)
    elif (folder / "metrics.csv").exists() and not config["resume"] and is_first():
        raise UsageError(f"hydra.run.dir={folder}: it holds a run already; choose another folder, or add resume=true")


def config_of(setting: str, path: str, content: Any) -> dict[str, Any]:
    """The configuration that a run saved in its checkpoint.

    Raises:
        UsageError: If ``content`` is not that of a checkpoint of a dotcom run.
    """
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict) or "state_dict" not in content:
        raise UsageError(f"{setting}={path}: not a checkpoint of a dotcom run; start from other weights with weights=")
    config: dict[str, Any] = content["config"]
    groups = [config.get("task"), config.get("data"), config.get("optimizer", {}), config.get("scheduler", {})]
    if not all(isinstance(group, dict) and isinstance(group.get("_target_", ""), str) for group in groups):
        raise UsageError(f"{setting}={path}: its configuration is damaged, or of another program")
    if type(content.get("epoch", 0)) is not int:
        raise UsageError(f"{setting}={path}: its epoch is no number; it is damaged, or of another program")
    return config


def check_resumable(where: str, content: dict[str, Any], config: dict[str, Any]) -> None:
    """The checkpoint leaves epochs to train, and was trained with the same kind of optimizer."""
    done = content.get("epoch", -1) + 1
    least = done + (not config["resume"])
    if config["fit"] and config["epochs"] < least:
        raise UsageError(
            f"{where}: it has {done} epochs already; set epochs={least} or more, or fit=false to evaluate it"
        )
    if not config["fit"]:
        return
    stored, asked = (c.get("optimizer", {}).get("_target_") for c in (content["config"], config))
    if stored and stored != asked:
        choice = stored.rpartition(".")[2].lower()
        raise UsageError(f"{where}: it was trained with {stored}, not {asked}; add optimizer={choice}")
    for key, usual in GROUPING.items():
        saved = content["config"].get(key, usual)
        if saved != config[key]:
            raise UsageError(f"{where}: its optimizer has other groups of parameters; add {key}={saved}")
    if config["optimizer"].get("amsgrad") and not content["config"].get("optimizer", {}).get("amsgrad"):
        raise UsageError(f"{where}: its optimizer kept no largest averages; leave out optimizer.amsgrad=true")
    check_place(where, content, config)


def check_place(where: str, content: dict[str, Any], config: dict[str, Any]) -> None:
    """From within an epoch, a run goes on with what the place in it is counted in."""
    before = content["config"]
    known = tuple(key for key in PLACE if select(before, key) is not None or key == "data.prepared.digest")
    if not content.get("between_epochs", True):
        elsewhere = ", or take a checkpoint from the end of an epoch, such as the last.ckpt of a run that has ended"
        check_match(f"{where}, from within an epoch", before, config, known, elsewhere)


def check_match(
    where: str, saved: Config, asked: Config, keys: tuple[str, ...], advice: str, same: Compared = select
) -> None:
    """Raise UsageError, naming all that differs and what to add, unless both settings agree in ``keys``."""
    if found := differing(saved, asked, keys, same):
        holds = ", ".join(f"{key}={spelled(same(saved, key))}" for key in found)
        add = " ".join(dict.fromkeys(override_for(key, saved, asked) for key in found))
        raise UsageError(f"{where}: it holds {holds}, unlike these settings; add {add}{advice}")


def changes(config: dict[str, Any]) -> list[str]:
    """What a run that goes on from ``ckpt_path`` in a new folder does otherwise than the run before; in words."""
    path = config["ckpt_path"]
    if not (config["fit"] and path) or config["resume"]:
        return []
    return changed(config_of("ckpt_path", path, read_plain("ckpt_path", path)), config)
