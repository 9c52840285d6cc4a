"""What this machine offers, found out without torch."""

import importlib.util
import os
import platform
import re
import shutil
from pathlib import Path
from typing import Any


def cores() -> int:
    """CPU cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def loading_cores() -> int:
    """Loader processes for one GPU: every core, up to 16."""
    return min(16, cores())


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


def found(fact: str) -> Any:
    """What hardware=auto takes from the machine: accelerator, precision, channels_last or num_workers."""
    if gpus():
        facts = {
            "accelerator": "gpu",
            "precision": "bf16-mixed",
            "channels_last": True,
            "num_workers": loading_cores(),
        }
    elif platform.system() == "Darwin" and platform.machine() == "arm64":
        facts = {"accelerator": "mps", "precision": "32-true", "channels_last": False, "num_workers": cores() // 2}
    else:
        facts = {"accelerator": "cpu", "precision": "32-true", "channels_last": True, "num_workers": 0}
    return facts[fact]
