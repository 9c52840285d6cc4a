"""What this machine offers, found out without torch."""

import ctypes
import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dotcom.errors import counted

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # parameters of mallopt, of glibc's <malloc.h>
MEMORY = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_MAX_", "MALLOC_MMAP_THRESHOLD_", "GLIBC_TUNABLES")  # who else chooses


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def share(processes: int = 1) -> int:
    """Cores for each of so many training processes on this machine."""
    return max(1, cores() // max(1, processes))


def loading_cores(devices: Any = 1) -> int:
    """Loader processes for each device: its share of the cores less one, which training itself needs; up to 16.

    Args:
        devices: As in ``hardware.devices``: a number, a list, or auto for all GPUs.
    """
    count = gpus() if devices in ("auto", -1, "-1") else devices if isinstance(devices, int) else len(devices)
    return min(16, share(count) - 1)


@dataclass(frozen=True)
class Loading:
    """How a training process loads its data, and how many threads it leaves to itself.

    Attributes:
        workers: Loader processes.
        worker_threads: Threads of each.
        prefetch: Batches that each has ready or in the making; None without loader processes.
        pinned: Batches lie in memory that a GPU can copy from by itself.
        torch_threads: Of the training process.
        cores: Its share of those that may be used.
    """

    workers: int
    worker_threads: int
    prefetch: int | None
    pinned: bool
    torch_threads: int
    cores: int

    @classmethod
    def chosen(
        cls,
        workers: int,
        worker_threads: int = 1,
        prefetch: int | None = None,
        pin_memory: bool | None = None,
        processes: int = 1,
        gpu: bool = False,
        most_threads: int | None = None,
    ) -> "Loading":
        """What was asked for, and from the machine what was not.

        Args:
            workers: As in the attributes.
            worker_threads: Likewise.
            prefetch: Likewise; None for two, and for four in all if there are fewer than two processes.
            pin_memory: None for yes with a GPU; without one it is always no.
            processes: That train on this machine.
            gpu: Whether they train on GPUs of NVIDIA.
            most_threads: That a training process would take, such as OMP_NUM_THREADS.
        """
        cores = share(processes)
        threads = max(1, min(cores - workers * worker_threads, most_threads or cores))
        ahead = (prefetch or max(2, 4 // workers)) if workers else None
        return cls(workers, worker_threads, ahead, gpu and pin_memory is not False, threads, cores)

    def __str__(self) -> str:
        used = self.workers * self.worker_threads + self.torch_threads
        each = (
            f" with {counted(self.worker_threads, 'thread')} and prefetch {self.prefetch} each" if self.workers else ""
        )
        pinned = ", pinned memory" if self.pinned else ""
        many = ", more than there are" if used > self.cores else ""
        left = f"{counted(self.torch_threads, 'thread')} to train with; {used} of {counted(self.cores, 'core')}{many}"
        return f"loading with {counted(self.workers, 'worker')}{each}{pinned}, {left}"


def keep_memory() -> bool:
    """Let the C library keep what is freed, for what comes next, instead of giving it back to the system.

    Otherwise the next step asks again for what the last one gave back, and the system clears it 4 KiB at a time. With
    32 images a step on one core, DoTCoM-Tiny trains 1.3 times as fast at 224 pixels, and 1.03 to 1.1 times at 64. The
    process keeps its peak, which is 5 to 17 % higher. For glibc, unless the environment has chosen (``MEMORY``).

    Returns:
        Whether it does.
    """
    if sys.platform != "linux" or any(name in os.environ for name in MEMORY):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    return mallopt is not None and bool(mallopt(MMAP_MAX, 0)) and bool(mallopt(TRIM_THRESHOLD, -1))


def gpus() -> int:
    """NVIDIA GPUs that the installed torch can use; at least 1 where the system hides their number (WSL, Windows)."""
    if not torch_has_cuda():
        return 0
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return len([number for number in visible.split(",") if number.strip() not in ("", "-1")])
    numbered = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    hidden = Path("/usr/lib/wsl/lib/libcuda.so.1").exists() or (os.name == "nt" and shutil.which("nvidia-smi"))
    return max(len(numbered), 1 if hidden else 0)


def torch_has_cuda() -> bool:
    """Whether torch was built with CUDA, read from its version file: importing it would take seconds."""
    spec = importlib.util.find_spec("torch")
    version = Path(spec.origin).with_name("version.py") if spec and spec.origin else None
    return bool(version and re.search(r"^cuda\b.*= *['\"]", version.read_text(), re.MULTILINE))


def found(fact: str, devices: Any = 1) -> Any:
    """What hardware=auto takes from the machine: accelerator, precision, channels_last or num_workers."""
    if gpus():
        facts = {
            "accelerator": "gpu",
            "precision": "bf16-mixed",
            "channels_last": True,
            "num_workers": loading_cores(devices),
        }
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        facts = {"accelerator": "mps", "precision": "32-true", "channels_last": False, "num_workers": cores() // 2}
    else:
        facts = {"accelerator": "cpu", "precision": "32-true", "channels_last": True, "num_workers": 0}
    return facts[fact]
