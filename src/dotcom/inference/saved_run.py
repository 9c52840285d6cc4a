"""What a checkpoint says of its run, without torch: configuration, classes and task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotcom.allowed import METRICS
from dotcom.errors import UsageError
from dotcom.plain_pickle import is_plain_tensor, read_plain
from dotcom.resume import at
from dotcom.state_dicts import contents, state_dicts

MOST_CLASSES = 100_000
LARGEST_SIDE = 16_384  # of an image, in pixels


@dataclass(frozen=True)
class SavedRun:
    """A checkpoint of a run of ours, as far as it is plain values.

    Attributes:
        path: The file.
        config: The run's resolved configuration.
        classes: Names of the classes, in the order of the network's outputs; of masks, the background is one.
        task: ``"Classification"``, ``"Detection"`` or ``"Segmentation"``.
    """

    path: Path
    config: dict[str, Any]
    classes: list[str]
    task: str


def is_plain(value: Any) -> bool:
    """Whether a value is what YAML could say: text, numbers, true, false, null, and lists and dicts of these."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and is_plain(inner) for key, inner in value.items())
    if isinstance(value, (list, tuple)):
        return all(map(is_plain, value))
    return value is None or isinstance(value, (str, int, float))


def numbered(count: int) -> list[str]:
    """The names of classes that have none."""
    return [f"class {number}" for number in range(count)]


def saved_run(path: Path) -> SavedRun:
    """Look into a checkpoint; takes milliseconds, and runs nothing that the file holds.

    Raises:
        UsageError: If there is no such file, or it is no checkpoint of a run of ours.
    """
    content = read_plain("CKPT", str(path))
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict) or "state_dict" not in content:
        advice = "a run leaves best.ckpt and last.ckpt"
        if state_dicts(content, is_plain_tensor):
            advice = f"to start a run from these weights: python train.py weights={path}"
        found = contents(content, is_plain_tensor)
        raise UsageError(f"CKPT={path}: not a checkpoint of a dotcom run; it holds {found}; {advice}")
    if not is_plain(config):
        raise UsageError(f"CKPT={path}: its configuration holds more than plain values; it is of another program")
    groups = [config.get("task"), config.get("data"), at(config, "data.dataset")]
    if not all(isinstance(group, dict) and "_target_" in group for group in groups):
        raise UsageError(f"CKPT={path}: its configuration lacks task or data; it is damaged, or of another program")
    task = str(config["task"]["_target_"]).rpartition(".")[2]
    if task not in METRICS:
        raise UsageError(f"CKPT={path}: it is of the task {task}; expected one of {', '.join(METRICS)}")
    shape = [config["task"].get("model"), config["data"].get("val_transform")]
    if not all(isinstance(group, dict) for group in shape) or not isinstance(config.get("image_size"), int):
        lack = "task.model, data.val_transform or image_size"
        raise UsageError(f"CKPT={path}: its configuration lacks {lack}; it is damaged, or of another version")
    count = config["data"].get("num_classes")
    if type(count) is not int or not 0 < count <= MOST_CLASSES:
        expected = f"expected a number from 1 to {MOST_CLASSES:,}"
        raise UsageError(f"CKPT={path}: its configuration has data.num_classes={count}; {expected}")
    if not 0 < config["image_size"] <= LARGEST_SIDE:
        expected = f"expected a number of pixels up to {LARGEST_SIDE:,}"
        raise UsageError(f"CKPT={path}: its configuration has image_size={config['image_size']}; {expected}")
    named = content.get("classes") or numbered(count)
    if not isinstance(named, list) or len(named) != count:
        names = len(named) if isinstance(named, list) else named
        raise UsageError(f"CKPT={path}: it names {names} classes, its configuration says {count}")
    return SavedRun(path, config, [str(name) for name in named], task)
