"""What a checkpoint says of its run, without torch: configuration, classes and task."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotcom.checkpoint import read_plain
from dotcom.config import METRICS
from dotcom.errors import UsageError


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


def saved_run(path: Path) -> SavedRun:
    """Look into a checkpoint; takes milliseconds, and runs nothing that the file holds.

    Raises:
        UsageError: If there is no such file, or it is no checkpoint of a run of ours.
    """
    content = read_plain("CKPT", str(path))
    config = content.get("config") if isinstance(content, dict) else None
    if not isinstance(config, dict) or "state_dict" not in content:
        raise UsageError(f"CKPT={path}: not a checkpoint of a dotcom run; a run leaves best.ckpt and last.ckpt")
    groups = [config.get("task"), config.get("data")]
    if not all(isinstance(group, dict) and "_target_" in group for group in groups):
        raise UsageError(f"CKPT={path}: its configuration lacks task or data; it is damaged, or of another program")
    task = str(config["task"]["_target_"]).rpartition(".")[2]
    if task not in METRICS:
        raise UsageError(f"CKPT={path}: it is of the task {task}; expected one of {', '.join(METRICS)}")
    count = config["data"].get("num_classes")
    if not isinstance(count, int):
        raise UsageError(f"CKPT={path}: its configuration has data.num_classes={count}; expected a number")
    classes = [str(name) for name in content.get("classes") or [f"class {number}" for number in range(count)]]
    if len(classes) != count:
        raise UsageError(f"CKPT={path}: it names {len(classes)} classes, its configuration says {count}")
    return SavedRun(path, config, classes, task)
