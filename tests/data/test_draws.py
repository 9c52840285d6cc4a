"""Augmentation is that of the sample: the same whichever process makes it, and whatever came before."""

import torch

from dotcom.data import DataModule, crop_and_flip, fashion, resize_and_crop


def loader(workers: int = 0, seed: int = 0, epoch: int = 0):
    data = DataModule(
        fashion, crop_and_flip(32), resize_and_crop(32, 32), 10, batch_size=8, num_workers=workers, seed=seed
    )
    data.setup("fit")
    made = data.train_dataloader()
    made.sampler.set_epoch(epoch)
    return made


def images(batches, count: int = 4) -> torch.Tensor:
    return torch.cat([batch[0] for _, batch in zip(range(count), batches, strict=False)])


def test_augmentation__depends_on_seed_and_epoch_alone():
    first = images(loader())
    torch.rand(5)
    assert torch.equal(images(loader(workers=2)), first)
    assert not torch.equal(images(loader(epoch=1)), first)
    assert not torch.equal(images(loader(seed=1)), first)


def test_augmentation__leaves_the_random_numbers_of_the_process_alone():
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    images(loader())
    assert torch.equal(torch.rand(2), expected)


def test_augmentation__differs_between_showings_of_an_image():
    dataset = loader().dataset
    assert torch.equal(dataset[5, 1][0], dataset[5, 1][0])
    assert not torch.equal(dataset[5, 1][0], dataset[5, 2][0])
