"""The process that tells how much memory one file takes in its runtime.

    python -m dotcom.benchmark.memory RUNTIME FILE IMAGE_SIZE THREADS

Prints the highest resident set while the file is loaded and run three times, less that before, in bytes; nothing where
the system does not tell (other than Linux). The runtime's own libraries are there before.
"""

import contextlib
import os
import sys
from importlib import import_module
from pathlib import Path

import numpy as np

from dotcom.deploy import formats

LIBRARIES = {  # what ``load`` of a format imports
    "executorch": ("torch", "executorch.runtime"),
    "litert": ("ai_edge_litert.interpreter",),
    "onnx": ("onnxruntime",),
    "openvino": ("openvino",),
    "torch": ("torch",),
}
STATUS, CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def resident(line: str) -> int:
    """``VmRSS`` (now) or ``VmHWM`` (highest since the last reset) of this process, in bytes."""
    found = next(text for text in STATUS.read_text().splitlines() if text.startswith(line))
    return int(found.split()[1]) * 1024


def peak(runtime: str, path: Path, image_size: int, threads: int) -> int:
    """Bytes that loading and running a file adds at most."""
    images = np.zeros((1, 3, image_size, image_size), np.float32)
    with formats.quiet():
        for library in LIBRARIES[runtime]:
            import_module(library)
    before = resident("VmRSS")
    with contextlib.suppress(OSError):  # some containers forbid it; then importing may count, too
        CLEAR.write_text("5")
    run = formats.module(runtime).load(path, threads=threads)
    for _ in range(3):
        run(images)
    return resident("VmHWM") - before


def main(runtime: str, path: str, image_size: str, threads: str) -> None:
    """Print the bytes, or nothing."""
    said = os.dup(1)
    os.dup2(2, 1)  # what runtimes print belongs to their errors
    if STATUS.exists():
        os.write(said, str(peak(runtime, Path(path), int(image_size), int(threads))).encode())


if __name__ == "__main__":
    main(*sys.argv[1:])
