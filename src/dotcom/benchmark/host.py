"""What a latency depends on besides the network: the machine, what else runs on it, and versions."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from dotcom.hardware import cores
from dotcom.record import commit

FLAGS = (  # instructions that kernels choose by, of x86 and ARM
    *("avx2", "avx512f", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"),
    *("asimd", "asimddp", "i8mm", "bf16", "sve", "sve2", "sme"),
)
PACKAGES = {  # whose version matters, by runtime
    "onnx": ("onnxruntime", "onnx", "onnxscript"),
    "executorch": ("executorch",),
    "openvino": ("openvino",),
    "litert": ("ai-edge-litert",),
}
GOVERNOR = Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")


def host() -> dict[str, str]:
    """Model and instructions of the CPU, cores, governor and system; what cannot be read is said so."""
    info = cpu_info()
    model = re.search(r"^model name\s*: (.*)$", info, re.MULTILINE)
    flags = re.search(r"^(?:flags|Features)\s*: (.*)$", info, re.MULTILINE)
    known = set(flags[1].split()) if flags else set()
    family = re.search(r"^cpu family\s*: (\d+)\s+model\s*: (\d+)", info, re.MULTILINE)
    exact = f" (family {family[1]}, model {family[2]})" if family else ""
    return {
        "CPU": (model[1] if model else platform.processor() or "unknown") + exact,
        "architecture": platform.machine(),
        "instructions": " ".join(flag for flag in FLAGS if flag in known) or "unknown",
        "cores": f"{cores()} of {os.cpu_count()}",
        "governor": GOVERNOR.read_text().strip() if GOVERNOR.exists() else "not readable",
        "system": platform.system(),
    }


def cpu_info() -> str:
    """``/proc/cpuinfo``, or the same two lines from macOS."""
    if Path("/proc/cpuinfo").exists():
        return Path("/proc/cpuinfo").read_text()
    if platform.system() != "Darwin":
        return ""
    asked = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, check=False)
    return f"model name : {asked.stdout.strip()}"


def packages(runtimes: Iterable[str]) -> dict[str, str]:
    """Versions of Python and of the packages that these runtimes use."""
    names = ["torch", "timm", "numpy", *(name for runtime in sorted(runtimes) for name in PACKAGES.get(runtime, ()))]
    found = {"python": platform.python_version()}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found


def versions(runtimes: Iterable[str]) -> dict[str, str]:
    """The same, and of our own code."""
    own = {"dotcom": metadata.version("dotcom"), "commit": commit() or "unknown"}
    return own | packages(runtimes)
