"""Looking into a checkpoint without torch, and without running anything that it holds."""

from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from dotcom.errors import UsageError, spelled
from dotcom.fingerprint import NEWER, scientific
from dotcom.plain_pickle import read_plain
from dotcom.safetensors import SUFFIX, check_safetensors
from dotcom.world import is_first

SAME_BACKBONE = ("model._target_", "model.variant", "model.name", "block")  # or its weights would not fit
# in how many groups an optimizer keeps its state, with what a run did that does not say
GROUPING = {"backbone_lr": 1.0} | {key: NEWER[key] for key in ("layer_decay", "decayed")}
MUST_MATCH = (
    "task._target_",
    *SAME_BACKBONE,
    "co_bias",
    "head",
    "separable",
    "auxiliary",
    "loss",
    "anchor_scales",
    "extra_channels",
    "data.num_classes",
    "ema",
)


def check_files(config: dict[str, Any]) -> None:
    """Checkpoints named by the configuration exist, are checkpoints, and fit the network."""
    if not config["fit"] and not config["ckpt_path"]:
        raise UsageError("fit=false: expected ckpt_path=<file>, the checkpoint to evaluate")
    if config["weights"] and config["ckpt_path"]:
        raise UsageError("weights and ckpt_path: expected one; weights= starts a run, ckpt_path= resumes one")
    check_folder(config)
    own = config["resume"] and config["ckpt_path"] == str(Path(config["output_dir"]) / "last.ckpt")
    same = own_settings(config) if own else MUST_MATCH
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
            if setting == "ckpt_path" or (isinstance(content, dict) and "config" in content):
                saved = OmegaConf.create(config_of(setting, path, content))
                check_match(where, saved, OmegaConf.create(config), keys, advice)
            if setting == "ckpt_path":
                check_resumable(where, content, config)
            if setting == "ckpt_path" and own:
                say_if_moved(config, content["config"])


def say_if_moved(config: dict[str, Any], before: dict[str, Any]) -> None:
    """Say if the data of the run have moved, or are others."""
    roots = [settings["data"]["root"] for settings in (before, config)]
    if roots[0] != roots[1] and is_first():
        print("warning: the run began with data.root={}, not {}; go on only if both hold the same".format(*roots))


def own_settings(config: dict[str, Any]) -> tuple[str, ...]:
    """The keys that must not change when a run goes on in its own folder, less those that only repeat another one."""
    names = [*scientific(config), *(key for key in NEWER if key in config), "data.prepared.digest"]
    keys = [key for key in dict.fromkeys(names) if key != "epochs" and not key.startswith(("task.", "trainer."))]
    return tuple(key for key in keys if "." not in key or key.rpartition(".")[2] not in config)


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
    return config


def check_resumable(where: str, content: dict[str, Any], config: dict[str, Any]) -> None:
    """The checkpoint leaves epochs to train, and was trained with the same kind of optimizer."""
    done = content.get("epoch", -1) + 1
    least = done + (not config["resume"])
    if config["fit"] and config["epochs"] < least:
        raise UsageError(
            f"{where}: it has {done} epochs already; set epochs={least} or more, or fit=false to evaluate it"
        )
    stored, asked = (c.get("optimizer", {}).get("_target_") for c in (content["config"], config))
    if config["fit"] and stored and stored != asked:
        choice = stored.rpartition(".")[2].lower()
        raise UsageError(f"{where}: it was trained with {stored}, not {asked}; add optimizer={choice}")
    for key, usual in GROUPING.items():
        saved = content["config"].get(key, usual)
        if config["fit"] and saved != config[key]:
            raise UsageError(f"{where}: its optimizer has other groups of parameters; add {key}={saved}")


def check_match(where: str, saved: DictConfig, asked: DictConfig, keys: tuple[str, ...], advice: str) -> None:
    """Raise UsageError, naming all that differs and what to add, unless both settings agree in ``keys``."""
    if differing := [key for key in keys if select(saved, key) != select(asked, key)]:
        holds = ", ".join(f"{key}={spelled(select(saved, key))}" for key in differing)
        add = " ".join(dict.fromkeys(override_for(key, saved, asked) for key in differing))
        raise UsageError(f"{where}: it holds {holds}, unlike these settings; add {add}{advice}")


def select(config: DictConfig, key: str) -> Any:
    """A value by its dotted key; of the moving average, whether there is one."""
    value = value_of(config, key)
    return value is not None if key == "ema" else value


def value_of(config: DictConfig, key: str) -> Any:
    """A value by its dotted key; of a setting that came later, the value that means what was done before."""
    value = OmegaConf.select(config, key)
    return NEWER.get(key) if value is None else value


def override_for(key: str, saved: DictConfig, asked: DictConfig) -> str:
    """What to write on the command line to get a saved setting."""
    if key.startswith("model."):
        if not (variant := OmegaConf.select(saved, "model.variant")):
            return f"model=timm name={OmegaConf.select(saved, 'model.name')}"
        family = str(OmegaConf.select(saved, "model._target_")).removeprefix("dotcom.models.").partition(".")[0]
        return f"model={family.lower()}_{variant}"
    if key in ("task._target_", "data.num_classes") or key.startswith("data.prepared."):
        source, wanted = (str(OmegaConf.select(config, "data.dataset._target_")) for config in (saved, asked))
        root = OmegaConf.select(saved, "data.root")
        return f"data.root={root}" if source == wanted else f"data={source.rpartition('.')[2]}"
    return f"{key}={spelled(value_of(saved, key))}"
