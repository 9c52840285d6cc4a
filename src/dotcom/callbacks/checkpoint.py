"""Checkpoint files that are either there in full or not at all."""

import errno
import os
import warnings
from pathlib import Path
from typing import Any

import torch
from lightning.fabric.plugins.io import TorchCheckpointIO

from dotcom.errors import causes
from dotcom.record import whole

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, in the quota, or for a file of that size


class WholeFiles(TorchCheckpointIO):
    """Writes to a temporary name in the same folder, then renames: a crash leaves the previous file intact.

    So does a full disk. Training goes on then, with a warning, for there may be room again at the next checkpoint;
    ``LastCheckpoint`` ends a run as failed whose last words could not be saved.

    Attributes:
        unsaved: Files whose latest state could not be saved, with the reason.
    """

    def __init__(self) -> None:
        self.unsaved: dict[str, str] = {}

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        path = Path(path)
        try:
            self._write(checkpoint, path)
        except (OSError, RuntimeError) as error:  # PyTorch wraps one into the other
            reason = next((cause for cause in causes(error) if isinstance(cause, OSError)), None)
            if reason is None or reason.errno not in FULL:
                raise
            kept = "the one from before is kept" if path.exists() else "there is none from before"
            self.unsaved[str(path)] = f"{path}: not saved, {reason.strerror}; {kept}"
            warnings.warn(self.unsaved[str(path)], stacklevel=1)
        else:
            self.unsaved.pop(str(path), None)

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
