"""The way from JPEG files to training batches: the classic one, ours, and ours from what was prepared.

Each call of a variant is one epoch of a loader in this process, one thread, over the same generated 500x375 photos.
Classic: PIL decodes, transforms v1 crop and flip, ToTensor and Normalize on each image. Ours: TorchCodec decodes,
transforms v2 crop and flip uint8 tensors; the device normalises the batch, which is not part of the time.
"""

import math
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torchvision import datasets
from torchvision import transforms as v1

from dotcom.annotations import folders
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.store import store
from dotcom.bench.watch import Watch
from dotcom.data import DataModule, crop_and_flip, image_folder, resize_and_crop
from dotcom.data.preflight import read_image
from dotcom.data.preparation import prepare
from dotcom.data.prepare import options_of
from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.prepared import read_prepared

HEIGHT, WIDTH = 375, 500  # the usual size of an ImageNet photo
SIZE, BATCH = 256, 32
PHOTOS: dict[Effort, int] = {"quick": 32, "normal": 64, "full": 128}
DEMAND = 3900  # images/s: what DoTCoM-Tiny may train on with one fast GPU

Epoch = Callable[[], list[Tensor]]


def rows(effort: Effort, watch: Watch) -> Iterator[Row]:
    """One table for all ways; those from shards have no floor."""
    with tempfile.TemporaryDirectory() as place, cache(Path(place) / "cache"):
        yield from measured(Path(place), PHOTOS[effort], watch)


def measured(place: Path, count: int, watch: Watch) -> Iterator[Row]:
    """All ways, in turns, over ``count`` photos."""
    photos = write_photos(place / "photos", count)
    folder, shards = made(photos, place / "folder"), made(photos, place / "shards", "--shards")
    ways = {
        "classic": classic(photos),
        "default": ours(photos),
        "prepared": ours(folder),
        "shards": ours(shards),
    }
    missing = [name for name in ("boto3", "moto", "flask") if find_spec(name) is None]
    with nullcontext() if missing else store(shards) as address:
        if address:
            ways["shards from s3"] = from_store(address)
        times = watch.turns(ways, "loading photos", plain=("classic",))
        said = {
            "default": ("difference: levels of 255 after the resize of validation",),
            "shards from s3": ("first epoch: fetched, checked and kept; without the CPU time of the store",),
        }
        differences: dict[str, float | str] = {
            "default": difference(photos),
            "shards": "those of prepared" if same_images(folder, shards) else "OTHERS THAN PREPARED",
        }
        for name in ways:
            rate = 1000 * count / times.ms(name)
            needed = f"{math.ceil(DEMAND / rate)} cores for {DEMAND:,} images/s"
            ratio = None if name == "classic" else times.ratio("classic", name)
            facts = (needed, *said.get(name, ()))
            yield Row("data", name, rate, "images/s per core", ratio, differences.get(name), facts=facts)
    if missing:
        yield skipped("data", "shards from s3", f"it needs {', '.join(missing)}: pip install 'dotcom[dev]'")


def write_photos(root: Path, count: int) -> Path:
    """JPEGs whose spectrum falls as 1 / frequency, as that of photographs does: two classes, two of them for val."""
    rng = torch.Generator().manual_seed(0)
    rows, columns = torch.fft.fftfreq(HEIGHT)[:, None], torch.fft.rfftfreq(WIDTH)[None]
    falloff = 1 / (rows.square() + columns.square()).sqrt().clamp(min=1 / WIDTH)
    for number in range(count + 2):
        noise = torch.randn(3, HEIGHT, WIDTH, generator=rng)
        photo = torch.fft.irfft2(torch.fft.rfft2(noise) * falloff, s=(HEIGHT, WIDTH))
        photo = (photo - photo.mean()) / photo.std() * 50 + 128
        path = root / ("train" if number < count else "val") / "ab"[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = photo.clamp(0, 255).to(torch.uint8).permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(path, quality=92)
    return root


def made(photos: Path, out: Path, *more: str) -> Path:
    """The photos, prepared for 256 pixels."""
    options = options_of(["--out", str(out), "--side", "288", "--shard-images", "32", "--workers", "1", *more])
    options.choice = "image_folder"
    prepare({"dataset": {"_target_": "dotcom.data.image_folder"}, "root": str(photos)}, options)
    return out


def module(root: object) -> DataModule:
    """As train.py would make it."""
    given: dict[str, Any] = {"num_classes": 2, "batch_size": BATCH, "num_workers": 0, "root": str(root)}
    data = DataModule(
        image_folder, crop_and_flip(SIZE), resize_and_crop(SIZE, 288), prepared=read_prepared(str(root)), **given
    )
    data.setup("fit")
    return data


def ours(root: object) -> Epoch:
    """An epoch of our loader: uint8 batches."""
    loader = module(root).train_dataloader()
    return lambda: [images for images, _ in loader]


def from_store(address: str) -> Epoch:
    """An epoch that fetches every shard."""

    def epoch() -> list[Tensor]:
        for path in (folders.CACHE / "shards").rglob("*"):
            if path.is_file():
                path.unlink()
        return ours(address)()

    return epoch


def classic(root: Path) -> Epoch:
    """An epoch of the usual loader: normalised float32 batches."""
    steps = [v1.RandomResizedCrop(SIZE), v1.RandomHorizontalFlip(), v1.ToTensor()]
    transform = v1.Compose([*steps, v1.Normalize(IMAGENET_MEAN, IMAGENET_STD)])
    loader = DataLoader(datasets.ImageFolder(str(root / "train"), transform), BATCH, shuffle=True, drop_last=True)
    return lambda: [images for images, _ in loader]


def difference(root: Path) -> float:
    """Largest difference of both ways, where nothing is random: levels of 255."""
    path = next(iter(sorted((root / "val/a").iterdir())))
    with Image.open(path) as photo:
        usual = v1.Compose([v1.Resize(288), v1.CenterCrop(SIZE), v1.PILToTensor()])(photo.convert("RGB"))
    return float((resize_and_crop(SIZE, 288)(read_image(path)).float() - usual.float()).abs().max())


def same_images(folder: Path, shards: Path) -> bool:
    """Whether both hold the same bytes."""
    stream = module(shards).datasets["train"].shards
    items = [stream.item(index) for index in range(len(stream))]
    return bool(items) and all((folder / name).read_bytes() == image for name, image, _ in items)


@contextmanager
def cache(place: Path) -> Iterator[None]:
    """Keep what is fetched and remembered apart from that of the user."""
    before, folders.CACHE = folders.CACHE, place
    try:
        yield
    finally:
        folders.CACHE = before
