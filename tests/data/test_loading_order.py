"""The place in an epoch is found again, with any number of loader processes; no process sees a sample of another."""

import pytest
import torch
from test_draws import images, loader

import dotcom.callbacks.counted
from dotcom.data.batches import samples_drawn
from dotcom.data.order import WINDOW, SeededOrder, Share, Shuffle
from dotcom.errors import UsageError
from runs import ADAMW, trainer


@pytest.mark.parametrize(("before", "after"), [(0, 0), (2, 2), (0, 2), (2, 1), (1, 0)])
def test_place_in_an_epoch__is_found_again_with_any_number_of_loader_processes(before, after):
    whole, stopped, resumed = loader(), loader(before), loader(after)
    assert stopped.state_dict() == {}  # asking does not begin
    images(batches := iter(stopped), 2)
    resumed.load_state_dict(state := stopped.state_dict())
    assert state == resumed.state_dict() == {"samples": 16}
    del batches
    assert torch.equal(images(resumed, 2), images(whole, 4)[16:])


def test_complete_epoch__is_followed_by_a_whole_one():
    resumed = loader()
    resumed.load_state_dict({"samples": 6000})
    assert torch.equal(images(resumed, 1), images(loader(), 1))


OLD = {  # what earlier checkpoints hold, after three batches
    0: {"_sampler_iter_state": {"samples_yielded": 12}, "_num_yielded": 3, "_iterator_finished": False},
    2: {
        "_snapshot": {"_snapshot_step": 2, "_worker_snapshots": {"worker_0": {}, "worker_1": {}}},
        "_steps_since_snapshot": 1,
        "_iterator_finished": False,
    },
}


@pytest.mark.parametrize("workers", OLD)
def test_place_in_an_epoch__of_an_earlier_checkpoint_is_understood(workers):
    assert samples_drawn(OLD[workers], batch_size=4) == 12
    assert samples_drawn({}, batch_size=4) == 0


@pytest.mark.parametrize("shards", [None, [5] * 20, [7, 1, 30, 2, 60]])
@pytest.mark.parametrize("world", [1, 2, 3, 7])
def test_order__shows_each_sample_once_over_all_processes(world, shards):
    size = 100
    orders = [Shuffle(size, rank, world, shards) for rank in range(world)]
    dealt = [list(order) for order in orders]
    assert [len(own) for own in dealt] == [len(order) for order in orders] == [size // world] * world
    together = [index for own in dealt for index in own]
    assert len(set(together)) == len(together) == size // world * world
    assert set(together) <= set(range(size))
    orders[0].set_epoch(1)
    assert list(orders[0]) != dealt[0]


def test_order__of_one_process_is_that_of_earlier_versions():
    expected = torch.randperm(50, generator=torch.Generator().manual_seed(3)).tolist()
    order = Shuffle(50, 0, 1)
    order.set_epoch(3)
    assert list(order) == expected


@pytest.mark.parametrize("shards", [None, [10] * 10])
def test_two_processes__draw_together_what_one_would_with_twice_the_batch(shards):
    one = list(SeededOrder(Shuffle(100, 0, 1, shards), seed=1))
    first, second = (list(SeededOrder(Shuffle(100, rank, 2, shards), seed=1)) for rank in range(2))
    assert [draw for pair in zip(first, second, strict=True) for draw in pair] == one


def test_order_of_shards__visits_few_at_a_time_and_asks_for_them_ahead():
    asked: list[list[int]] = []
    order = list(Shuffle(400, 0, 1, [10] * 40, asked.append))
    visited = [index // 10 for index in order]
    for first in range(0, 400, 10 * WINDOW):
        window = visited[first : first + 10 * WINDOW]
        assert len(set(window)) == WINDOW
        assert len(set(window[:20])) > 2  # mixed
        assert set(window) | set(visited[first + 10 * WINDOW :][: 10 * WINDOW]) == set(asked[first // (10 * WINDOW)])


def test_order__refuses_more_processes_than_samples():
    with pytest.raises(UsageError, match=r"^data: 2 training samples for 3 processes; expected one for each"):
        Shuffle(2, 0, 3)


def test_unreadable_batch__stops_processes_that_train_in_step():
    made = loader()
    made.collate_fn = lambda samples: None
    made.in_step = True
    with pytest.raises(UsageError, match=r"^data: not one image of a batch could be read; data.check=true names"):
        next(iter(made))


def test_validation__refuses_more_processes_than_samples():
    with pytest.raises(UsageError, match=r"^data: 2 validation samples for 3 processes; expected one for each"):
        Share(2, 0, 3)


class Doubled(Share):
    """Shows the first sample twice."""

    def __len__(self) -> int:
        return len(self.indices) + 1

    def __iter__(self):
        return iter([0, *self.indices])


def test_validation__that_shows_an_image_twice_is_an_error(photos, tmp_path, classifier, monkeypatch):
    from functools import partial

    from dotcom.data import DataModule, crop_and_flip, image_folder, resize_and_crop
    from dotcom.optim import constant
    from dotcom.tasks import Classification

    data = DataModule(image_folder, crop_and_flip(32), resize_and_crop(32, 36), 2, 4, 0, root=str(photos))
    task = Classification(classifier, ADAMW, partial(constant), 3)
    counted = dotcom.callbacks.counted.EvaluatedImages()
    trainer(tmp_path, callbacks=[counted]).validate(task, data, verbose=False)
    assert data.evaluated_images == 4
    monkeypatch.setattr("dotcom.data.module.Share", Doubled)
    with pytest.raises(UsageError, match="validation looked at 5 images of 4, 0 of which could not be read"):
        trainer(tmp_path, callbacks=[counted]).validate(task, data, verbose=False)
