"""Checks of the training recipe that need more than one key; nothing here imports torch."""

from pathlib import Path
from typing import Any

from dotcom.checkpoint import config_of
from dotcom.errors import UsageError, listed, spelled
from dotcom.fingerprint import NEWER
from dotcom.plain_pickle import read_plain


def check_recipe(config: dict[str, Any]) -> None:
    """The sizes that training shows can be, whole epochs are averaged, and there is a teacher to be like.

    Raises:
        UsageError: One line that names the key, what was expected and what to do.
    """
    sizes = config["multi_scale"]
    many = isinstance(sizes, list) and bool(sizes)
    if sizes is not None and not (many and all(whole(size) and 0 < size <= 8192 and size % 32 == 0 for size in sizes)):
        raise UsageError(
            f"multi_scale={spelled(sizes)}: expected multiples of 32 above 0, up to 8192, such as [192,224,256]"
        )
    first, full = config["progressive"], config["image_size"]
    if first is not None and not (whole(first) and first < full):
        raise UsageError(f"progressive={first}: expected less than image_size={full}, the size that it rises to")
    if first is None and config["progressive_until"] != NEWER["progressive_until"]:
        raise UsageError("progressive_until: expected progressive= with it, the size of the first epochs")
    if "teacher" in config:
        check_teacher(config)


def check_teacher(config: dict[str, Any]) -> None:
    """No setting of a teacher without one; where it is a checkpoint, it is a classifier of as many classes."""
    teacher = config["teacher"]
    given = [key for key, usual in NEWER.items() if key.startswith("distill") and config[key] != usual]
    if teacher is None and given:
        raise UsageError(f"{listed(given)}: expected teacher= with it, the network to learn from")
    if config["distill"] == "hard" and "distill_temperature" in given:
        raise UsageError("distill_temperature: expected distill=soft with it; a first choice has no temperature")
    if teacher is not None and not isinstance(teacher, str):
        raise UsageError(f"teacher={spelled(teacher)}: expected RUN/best.ckpt, or the name of a network of timm")
    if teacher and (teacher.endswith(".ckpt") or "/" in teacher):
        check_taught(str(Path(teacher).expanduser()), config["data"]["num_classes"])


def check_taught(path: str, classes: int) -> None:
    """The checkpoint of a teacher is one of a classifier of so many classes."""
    saved = config_of("teacher", path, read_plain("teacher", path))
    task, known = str(saved["task"].get("_target_")).rpartition(".")[2], saved["data"].get("num_classes")
    if task != "Classification":
        raise UsageError(f"teacher={path}: expected a classifier, got a checkpoint of {task.lower()}")
    if known != classes:
        raise UsageError(f"teacher={path}: it knows {known} classes, the data have {classes}; expected equal classes")


def whole(value: Any) -> bool:
    """Whether a value is a whole number; true and false are none."""
    return isinstance(value, int) and not isinstance(value, bool)
