"""Augmentation is that of the sample: the same whichever process makes it, and whatever came before."""

import pytest
import torch

from dotcom.data import DataModule, crop_and_flip, fashion, resize_and_crop
from dotcom.errors import UsageError


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


@pytest.mark.parametrize("workers", [0, 2])
def test_place_in_an_epoch__is_found_again(workers):
    whole, stopped, resumed = loader(workers), loader(workers), loader(workers)
    assert stopped.state_dict() == {}  # asking does not begin
    images(batches := iter(stopped), 2)
    resumed.load_state_dict(stopped.state_dict())
    del batches
    assert torch.equal(images(resumed, 2), images(whole, 4)[16:])


def test_place_in_an_epoch__is_refused_to_another_number_of_loader_processes():
    stopped = loader()
    images(batches := iter(stopped), 2)
    with pytest.raises(UsageError, match=r"^data\.num_workers=2: .* loaded with 0; add data\.num_workers=0$"):
        loader(workers=2).load_state_dict(stopped.state_dict())
    del batches
