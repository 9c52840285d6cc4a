"""How fast one core turns JPEG files into training samples, and how fast the classic way does.

    python -m dotcom.data.benchmark

Ours: torchvision.io decodes, transforms.v2 crop and flip uint8 tensors, the device normalises the batch.
Classic: PIL decodes, transforms v1 crop and flip, ToTensor and Normalize on each image. Both run in this process,
one thread, in turns, over the same generated 500x375 files; times are CPU time, so a busy machine changes little.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from rich.console import Console
from rich.progress import track
from rich.table import Table
from torch import Tensor
from torchvision import transforms as v1
from torchvision.io import write_jpeg

from dotcom.data.module import IMAGENET_MEAN, IMAGENET_STD
from dotcom.data.preflight import read_image
from dotcom.data.transforms import crop_and_flip

HEIGHT, WIDTH = 375, 500  # the usual size of an ImageNet photo


def write_photos(folder: Path, count: int) -> list[Path]:
    """JPEGs whose spectrum falls as 1 / frequency, as that of photographs does."""
    rng = torch.Generator().manual_seed(0)
    rows, columns = torch.fft.fftfreq(HEIGHT)[:, None], torch.fft.rfftfreq(WIDTH)[None]
    falloff = 1 / (rows.square() + columns.square()).sqrt().clamp(min=1 / WIDTH)
    paths = []
    for number in range(count):
        noise = torch.randn(3, HEIGHT, WIDTH, generator=rng)
        photo = torch.fft.irfft2(torch.fft.rfft2(noise) * falloff, s=(HEIGHT, WIDTH))
        photo = (photo - photo.mean()) / photo.std() * 50 + 128
        paths.append(folder / f"{number}.jpg")
        write_jpeg(photo.clamp(0, 255).to(torch.uint8), str(paths[-1]), quality=92)
    return paths


def ours(image_size: int) -> Callable[[Path], Tensor]:
    """File to uint8 (3, H, W)."""
    transform = crop_and_flip(image_size)
    return lambda path: transform(read_image(path))


def classic(image_size: int) -> Callable[[Path], Tensor]:
    """File to normalised float32 (3, H, W)."""
    transform = v1.Compose(
        [
            v1.RandomResizedCrop(image_size),
            v1.RandomHorizontalFlip(),
            v1.ToTensor(),
            v1.Normalize(IMAGENET_MEAN, IMAGENET_STD),
        ]
    )

    def read(path: Path) -> Any:
        with Image.open(path) as image:
            return transform(image.convert("RGB"))

    return read


def seconds(route: Callable[[Path], Tensor], paths: list[Path]) -> float:
    """CPU seconds for all paths, stacked into one batch as a loader would."""
    started = time.process_time()
    torch.stack([route(path) for path in paths])
    return time.process_time() - started


def main() -> None:
    """Print images per second and core of both ways, and the median of their paired ratios."""
    parser = argparse.ArgumentParser(prog="python -m dotcom.data.benchmark", description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=64, help="files per round (64)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each way (7)")
    parser.add_argument("--size", type=int, default=256, help="side of the crop in pixels (256)")
    options = parser.parse_args()
    torch.set_num_threads(1)
    routes = {
        "classic (PIL, v1, float32)": classic(options.size),
        "ours (torchvision.io, v2, uint8)": ours(options.size),
    }
    times: dict[str, list[float]] = {name: [] for name in routes}
    with tempfile.TemporaryDirectory() as folder:
        paths = write_photos(Path(folder), options.images)
        for number in track(range(options.rounds + 1), "measuring"):
            for name, route in routes.items():
                spent = seconds(route, paths)
                if number:  # the first round warms up
                    times[name].append(spent)
    base, fast = times.values()
    ratios = sorted(slow / quick for slow, quick in zip(base, fast, strict=True))
    table = Table(title=f"{options.images} JPEGs of {WIDTH}x{HEIGHT} to {options.size}x{options.size}, one core")
    for heading in ("way", "images/s per core", "ratio (lowest to highest)"):
        table.add_column(heading, justify="right")
    for name, rounds in times.items():
        span = "1.00" if rounds is base else f"{statistics.median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f})"
        table.add_row(name, f"{options.images / statistics.median(rounds):.0f}", span)
    Console().print(table)


if __name__ == "__main__":
    main()
