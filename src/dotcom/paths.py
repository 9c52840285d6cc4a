"""Paths of the user: relative to the folder in which the user stands, wherever Hydra has gone meanwhile."""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf, open_dict

from dotcom.object_store import is_remote

KEYS = ("data.root", "weights", "ckpt_path", "teacher")  # data.dataset.* is relative to data.root


def from_folder(cfg: DictConfig, folder: Path) -> None:
    """Make the relative paths of a configuration absolute, if this process works in another folder.

    With ``hydra.job.chdir=true``, Hydra has gone to the folder of the run. Otherwise paths stay as they were written,
    and so do the records of runs.

    Args:
        cfg: The composed configuration; it is changed.
        folder: Where the command was given.
    """
    if folder.resolve() == Path.cwd().resolve():
        return
    for key in KEYS:
        value = OmegaConf.select(cfg, key)
        if isinstance(value, str) and is_path(key, value):
            with open_dict(cfg):
                OmegaConf.update(cfg, key, str(folder / Path(value).expanduser()))


def is_path(key: str, value: str) -> bool:
    """Whether a value names a file or folder of this machine, rather than a network of timm or an address."""
    if key == "teacher":
        return value.endswith(".ckpt") or "/" in value
    return not is_remote(value) and not (key == "weights" and value == "timm")
