"""Two hosts train as one process with the double batch would; when one is lost the other ends, and the run goes on.

The hosts are network namespaces on this machine, joined by a virtual cable; gloo talks over it.
"""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
import torch
from hosts import Host, Network, ip, losses, wait_until

from test_resume import assert_same_run

STEPS = 20
SMALL = "data=fashion image_size=32 epochs=2 optimizer=sgd optimizer.lr=0.0001 trainer.log_every_n_steps=1"
SMALL = f"{SMALL} +trainer.limit_train_batches=10 +trainer.limit_val_batches=1 +callbacks.losses._target_=hosts.Losses"
TWO = (
    "hardware=ddp_cpu hardware.devices=1 hardware.num_nodes=2 data.batch_size=8 sync_batchnorm=true save_every_steps=1"
)
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}  # of float32 sums in another order, through 20 steps


def can_make_namespaces() -> bool:
    if (
        sys.platform != "linux"
        or os.geteuid()
        or not shutil.which("ip")
        or not ip("netns", "add", "dotcom", check=False)
    ):
        return False
    return ip("netns", "delete", "dotcom")


pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not can_make_namespaces(), reason="network namespaces need Linux, root and the command ip"),
]


def settings(folder: Path, *more: str) -> list[str]:
    return [*SMALL.split(), f"+callbacks.losses.folder={folder}", f"hydra.run.dir={folder}", *more]


def start(network: Network, folder: Path, *more: str) -> list[Host]:
    folder.mkdir(exist_ok=True)
    overrides = settings(folder, *TWO.split(), *more)
    logs = [folder / f"{len(list(folder.glob('log*')))}-log-{number}.txt" for number in (0, 1)]
    return [Host(log, overrides, network, number) for number, log in enumerate(logs)]


@pytest.fixture(scope="module")
def network():
    with Network() as made:
        yield made


@pytest.fixture(scope="module")
def unharmed(network, tmp_path_factory) -> Path:
    """The folder of a run on two hosts that nobody disturbed."""
    folder = tmp_path_factory.mktemp("hosts") / "two"
    for host in start(network, folder):
        code, said = host.end()
        assert code == 0, said
    return folder


def test_two_hosts__are_one_process_with_the_double_batch(unharmed, tmp_path):
    one = tmp_path / "one"
    code, said = Host(tmp_path / "log.txt", settings(one, "hardware=cpu", "data.batch_size=16")).end()
    assert code == 0, said
    first, second, both = losses(unharmed, 0), losses(unharmed, 1), losses(one, 0)
    assert list(first) == list(second) == list(both) == list(range(1, STEPS + 1))
    assert first != second
    for step in both:
        assert (first[step] + second[step]) / 2 == pytest.approx(both[step], rel=1e-3)
    states = [torch.load(folder / "last.ckpt", weights_only=True)["state_dict"] for folder in (unharmed, one)]
    assert states[0].keys() == states[1].keys()
    for name, values in states[0].items():
        torch.testing.assert_close(values, states[1][name], **TOLERANCE, msg=lambda text, name=name: f"{name}: {text}")
    said = (unharmed / "0-log-0.txt").read_text()
    assert "16 images a step (8 x 2 processes), learning rate 0.0001, batch norms over all processes" in said


def test_lost_host__ends_the_other_which_goes_on_to_the_same_result(network, unharmed, tmp_path):
    folder = tmp_path / "run"
    for lose, step in ((lambda hosts: hosts[1].kill(), 5), (lambda hosts: network.plug("down"), 13)):
        hosts = start(network, folder, "resume=true")
        wait_until(lambda step=step: step in losses(folder, 0))
        lose(hosts)
        since = time.monotonic()
        code, said = hosts[0].end()
        assert time.monotonic() - since < 60
        assert code == 2, said
        lines = said.splitlines()
        assert [line for line in lines if line.startswith("error: lost contact with another process of this run (")]
        assert "Traceback" not in said
        hosts[1].end()
        network.plug("up")
    for host in start(network, folder, "resume=true"):
        code, said = host.end()
        assert code == 0, said
    assert_same_run(folder, unharmed)
    assert set(losses(folder, 0)) == set(range(1, STEPS + 1))
