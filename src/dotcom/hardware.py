"""What this machine offers, found out without torch."""

import os
import platform
import shutil
from pathlib import Path
from typing import Any


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def gpus() -> int:
    """NVIDIA GPUs of this machine, counted without torch; at least 1 where the system hides their number."""
    numbered = [path for path in Path("/dev").glob("nvidia*") if path.name.removeprefix("nvidia").isdigit()]
    hidden = Path("/dev/dxg").exists() or (os.name == "nt" and shutil.which("nvidia-smi"))  # WSL, Windows
    return 0 if os.environ.get("CUDA_VISIBLE_DEVICES") == "" else max(len(numbered), 1 if hidden else 0)


def found(fact: str) -> Any:
    """What hardware=auto takes from the machine: accelerator, precision, channels_last or num_workers."""
    if gpus():
        facts = {
            "accelerator": "gpu",
            "precision": "bf16-mixed",
            "channels_last": True,
            "num_workers": min(16, cores()),
        }
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        facts = {"accelerator": "mps", "precision": "32-true", "channels_last": False, "num_workers": cores() // 2}
    else:
        facts = {"accelerator": "cpu", "precision": "32-true", "channels_last": True, "num_workers": 0}
    return facts[fact]
