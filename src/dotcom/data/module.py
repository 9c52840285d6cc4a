"""The DataModule every data set shares."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.utilities import rank_zero_warn
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from torchvision.transforms import v2

from dotcom.data.batches import OwnDraws, ReadableBatches, begin, stack_readable
from dotcom.data.normalization import Normalization
from dotcom.data.order import Share, train_order
from dotcom.data.preflight import check_sets
from dotcom.data.sizes import Sizes, resized
from dotcom.errors import listed
from dotcom.hardware import Loading
from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD
from dotcom.object_store import is_remote
from dotcom.prepared import check_count, in_shards

Split = Literal["train", "val"]


class DataModule(L.LightningDataModule):
    """Batches a data set and normalises each batch on the device that trains on it.

    A batch is (images, targets). Images are float32 (B, 3, H, W), normalised; targets are what the data set gives:
    labels, int64 (B,), or float32 (B, num_classes) when MixUp or CutMix blend them; class masks, uint8 (B, H, W); or
    a list of B dicts with boxes. The order of the training samples and what augmentation makes of each depend on
    ``seed`` and epoch alone.

    Args:
        dataset: Called with ``split=`` and ``transform=``, and ``root=`` if there is one, once per split.
        train_transform: From a uint8 image (3, H, W) to another; of boxes or masks, from a pair to another.
        val_transform: Likewise, for validation.
        num_classes: Read by the network's configuration.
        batch_size: Samples per device and step.
        num_workers: Loader processes per device.
        worker_threads: Threads of each.
        prefetch: Batches that each has ready; None for what ``dotcom.hardware.Loading`` chooses.
        pin_memory: None for yes where there is an NVIDIA GPU; without one it is always no.
        val_batch_size: Of validation, if it is another; 1 where images keep their own sizes.
        root: Folder of the data, for sets that need one; of shards, it may be an address as well (s3://BUCKET/PATH).
        seed: Of the training order and augmentation.
        mixup: Beta parameter of MixUp (arXiv:1710.09412); 0 leaves it out.
        cutmix: Beta parameter of CutMix (arXiv:1905.04899); 0 leaves it out. With both, each batch draws one.
        repeats: Show each image this many times per epoch, differently augmented (arXiv:1902.05509); an epoch keeps
            its length, so that it draws one image in ``repeats``.
        prepared: What ``dotcom.data.prepare`` did to the images, from ``dotcom.prepared``; None for originals.
        check: Decode every file before training starts, and stop if one is unreadable.
        mean: Per channel, for images in [0, 1].
        std: Likewise.
        multi_scale: Sizes to draw from for each training batch; see ``Sizes``, also for the two below.
        progressive: Size of the first epochs.
        progressive_until: Fraction of the epochs after which images have full size.
    """

    def __init__(
        self,
        dataset: Callable[..., Dataset[Any]],
        train_transform: Callable[..., Any],
        val_transform: Callable[..., Any],
        num_classes: int,
        batch_size: int,
        num_workers: int,
        val_batch_size: int | None = None,
        root: str | None = None,
        seed: int = 0,
        mixup: float = 0.0,
        cutmix: float = 0.0,
        repeats: int = 1,
        check: bool = False,
        worker_threads: int = 1,
        prefetch: int | None = None,
        pin_memory: bool | None = None,
        prepared: Mapping[str, Any] | None = None,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        multi_scale: Sequence[int] | None = None,
        progressive: int | None = None,
        progressive_until: float = 0.5,
    ) -> None:
        super().__init__()
        self.root = root if root is None or is_remote(root) else str(Path(root).expanduser())
        self.prepared = prepared
        self.make_dataset = dataset if root is None else partial(dataset, root=self.root)
        self.transforms = {"train": train_transform, "val": val_transform}
        self.num_classes = num_classes
        self.batch_size = batch_size
        self.val_batch_size = val_batch_size or batch_size
        self.num_workers = num_workers
        self.loading_settings = (worker_threads, prefetch, pin_memory)
        self.seed = seed
        self.repeats = repeats
        self.check = check
        self.normalize = Normalization(mean, std)
        blends = {v2.MixUp: mixup, v2.CutMix: cutmix}
        chosen = [blend(alpha=float(alpha), num_classes=num_classes) for blend, alpha in blends.items() if alpha]
        self.blend = v2.RandomChoice(chosen) if chosen else None
        self.sizes = Sizes(multi_scale, progressive, progressive_until, seed)
        self.mean, self.std = tuple(mean), tuple(std)
        self.datasets: dict[str, Any] = {}
        self.evaluated_images = 0  # in the last validation, over all processes; see dotcom.callbacks.EvaluatedImages
        self.reported: set[str] = set()  # splits whose skipped files have been named

    def prepare_data(self) -> None:
        # one process per machine downloads, unpacks and checks; the others wait
        fit = self.trainer is None or self.trainer.state.fn == "fit"
        self.setup("fit" if fit else "validate")
        if self.check:
            check_sets(self.datasets.values(), files=not self.is_streamed)

    @property
    def is_streamed(self) -> bool:
        """Whether the images stand in shards."""
        return self.prepared is not None and in_shards(self.prepared)

    def loading(self, trainer: L.Trainer | None) -> Loading:
        """How data are loaded, and how many threads that leaves to a process of this trainer."""
        processes = trainer.num_devices if trainer else 1
        gpu = torch.cuda.is_available() if trainer is None else trainer.strategy.root_device.type == "cuda"
        return Loading.chosen(self.num_workers, *self.loading_settings, processes, gpu, torch.get_num_threads())

    def setup(self, stage: str) -> None:
        torch.set_num_threads(self.loading(self.trainer).torch_threads)
        splits: tuple[Split, ...] = ("train", "val") if stage == "fit" else ("val",)
        for split in splits:
            if split not in self.datasets:
                self.load(split)
                if (found := len(self.datasets[split].classes)) != self.num_classes:
                    raise ValueError(f"data.num_classes={self.num_classes}: the {split} data have {found} classes")

    def load(self, split: Split) -> None:
        """Make the data set of a split, whatever its classes are."""
        self.datasets[split] = self._dataset(split)

    def _dataset(self, split: Split) -> Any:
        if self.is_streamed:
            from dotcom.data.streaming import streamed  # it builds on the sets of files, and they on this module

            return streamed(split, str(self.root), self.transforms[split])
        dataset = self.make_dataset(split=split, transform=self.transforms[split])
        check_count(self.root, self.prepared, split, len(dataset))  # type: ignore[arg-type]
        return dataset

    def teardown(self, stage: str) -> None:
        for split, dataset in self.datasets.items():
            skipped = [str(path) for path in getattr(dataset, "skipped", [])]
            if skipped and split not in self.reported:
                self.reported.add(split)
                counts = f"{len(skipped)} of {len(dataset)} {split} images"
                rank_zero_warn(f"{counts} were skipped as unreadable: {listed(skipped)}")

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the labels."""
        return list(self.datasets["val"].classes)

    def train_dataloader(self) -> DataLoader[Any]:
        dataset = self.datasets["train"]
        sampler = train_order(dataset, *self._rank_and_world(), self.seed, self.repeats)
        # a smaller last batch would be a noisier step; a set smaller than one batch still has to train
        drop_last = len(sampler) >= self.batch_size
        loader = self._loader(OwnDraws(dataset), sampler, self.batch_size, drop_last, least=min(2, self.batch_size))
        loader.in_step = self._rank_and_world()[1] > 1
        return loader

    def val_dataloader(self) -> DataLoader[Any]:
        dataset = self.datasets["val"]
        share = Share(len(dataset), *self._rank_and_world())
        return self._loader(dataset, share, self.val_batch_size, drop_last=False, least=1)

    def on_after_batch_transfer(self, batch: tuple[Tensor, Any], dataloader_idx: int) -> tuple[Tensor, Any]:
        images, targets = self.normalize(batch[0]), batch[1]
        if self.trainer is None or not self.trainer.training:
            return images, targets
        images, targets = resized(images, targets, self.sizes.now(self.trainer, images.shape[-1]))
        return (images, targets) if self.blend is None else self.blend(images, targets)

    def _rank_and_world(self) -> tuple[int, int]:
        return (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)

    def _loader(
        self, dataset: Any, sampler: Sampler[Any], batch_size: int, drop_last: bool, least: int
    ) -> ReadableBatches:
        loading = self.loading(self.trainer)
        return ReadableBatches(
            dataset,
            batch_size=batch_size,
            sampler=sampler,
            drop_last=drop_last,
            num_workers=self.num_workers,
            persistent_workers=self.num_workers > 0,
            prefetch_factor=loading.prefetch,
            pin_memory=loading.pinned,
            collate_fn=partial(stack_readable, least=least),
            worker_init_fn=partial(begin, threads=loading.worker_threads),
            generator=torch.Generator().manual_seed(self.seed),  # else each epoch would draw from the global one
        )
