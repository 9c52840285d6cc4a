"""A run goes on with another number of processes from the end of an epoch, at the same place in its schedule."""

from pathlib import Path
from typing import Any

import pytest
import torch

from dotcom.errors import UsageError
from dotcom.optim import warmup_cosine
from test_resume import rows, run, settings

RATE = 0.001 * 2 / 32  # of one process and its batch of 2, by lr_scaling=linear


def as_of_two_processes(path: Path, **more: Any) -> None:
    """What two processes would have left: two random states, half as many steps on the schedule, twice the rate."""
    checkpoint = torch.load(path, weights_only=True)
    checkpoint["random_states"] *= 2
    for state in checkpoint["lr_schedulers"]:
        state["last_epoch"] //= 2
        state["base_lrs"] = [2 * RATE]
    torch.save(checkpoint | more, path)


def test_other_number_of_processes__goes_on_between_epochs_only(photos, tmp_path):
    folder = tmp_path / "run"
    run(settings("classification", photos, folder, "data.num_workers=0", "lr_scaling=linear", "epochs=1"))
    last = folder / "last.ckpt"
    states = torch.load(last, weights_only=True)["random_states"]
    as_of_two_processes(last, between_epochs=False)
    more = ("data.num_workers=0", "lr_scaling=linear", "epochs=2", "resume=true", "trainer.log_every_n_steps=1")
    with pytest.raises(
        UsageError, match=r"within an epoch, which 2 process\(es\) shared, not 1; start 2, at least until"
    ):
        run(settings("classification", photos, folder, *more))
    as_of_two_processes(last, between_epochs=True, random_states=states * 2)
    run(settings("classification", photos, folder, *more))
    rates = {int(row["step"]): float(row["lr"]) for row in rows(folder) if row["lr"]}
    optimizer = torch.optim.SGD([torch.zeros(1)], lr=RATE)
    schedule = warmup_cosine(optimizer, total_steps=8)
    expected = {step: RATE * schedule.lr_lambdas[0](step) for step in (4, 5, 6, 7)}  # the second half of eight steps
    assert {step: rates[step] for step in expected} == pytest.approx(expected)
