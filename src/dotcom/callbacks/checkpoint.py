"""Checkpoint files that are either there in full or not at all."""

import errno
import io
import os
import warnings
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from lightning.fabric.plugins.io import TorchCheckpointIO

from dotcom.errors import FULL, causes
from dotcom.plain_pickle import check_sums, damaged_part
from dotcom.record import whole

UNREADABLE = errno.EIO  # the disk does not give back what was written


class WholeFiles(TorchCheckpointIO):
    """Writes to a temporary name in the same folder, reads that back, then renames it.

    A crash leaves the previous file intact, and so does a disk that is full or does not keep what was written. Training
    goes on then, with a warning, for the next checkpoint may succeed; ``LastCheckpoint`` ends a run as failed whose
    last words could not be saved. A file is checked against its sums before it is loaded.

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
            if reason is None or reason.errno not in (*FULL, UNREADABLE):
                raise
            kept = "the one from before is kept" if path.exists() else "there is none from before"
            self.unsaved[str(path)] = f"{path}: not saved, {reason.strerror}; {kept}"
            warnings.warn(self.unsaved[str(path)], stacklevel=1)
        else:
            self.unsaved.pop(str(path), None)

    def load_checkpoint(self, path: str | Path, map_location: Any = "cpu", weights_only: bool | None = True) -> Any:
        """Read a file; of several processes the first one does, because other nodes may not see its folder.

        Raises:
            UsageError: If it is damaged.
        """
        if not dist.is_initialized() or dist.get_rank() == 0:
            check_sums("checkpoint", str(path))
        if not (dist.is_initialized() and dist.get_world_size() > 1):
            return super().load_checkpoint(path, map_location, weights_only=weights_only)
        content: list[Any] = [Path(path).read_bytes() if dist.get_rank() == 0 else None]
        dist.broadcast_object_list(content)
        return torch.load(io.BytesIO(content[0]), map_location=map_location, weights_only=True)

    def _write(self, checkpoint: dict[str, Any], path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary, temporary.open("wb") as file:
            torch.save(checkpoint, file)
            file.flush()
            os.fsync(file.fileno())
            check_written(temporary, file.fileno())


def check_written(path: Path, descriptor: int) -> None:
    """Raise OSError if a file that was just written cannot be read back; from the disk, where the system allows it."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)  # else the answer comes from memory
    if damage := damaged_part(path):
        raise OSError(UNREADABLE, f"read back, it is damaged: {damage}", str(path))
