"""Two hosts train as one process with the double batch would; when one is lost the other ends, and the run goes on.

The hosts are network namespaces on this machine, joined by a virtual cable; gloo talks over it.
"""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from hosts import ADDRESSES, PORT, Host, Network, ip, losses, wait_until

from conftest import REPO
from test_resume import assert_same_run

STEPS = 20
SMALL = "data=fashion image_size=32 epochs=2 optimizer=sgd optimizer.lr=1e-6 trainer.log_every_n_steps=1"
SMALL = f"{SMALL} +trainer.limit_train_batches=10 +trainer.limit_val_batches=1 +callbacks.losses._target_=hosts.Losses"
SMALL = f"{SMALL} callbacks.pictures=null callbacks.histograms=null callbacks.confusion=null"
TWO = "hardware=ddp_cpu hardware.devices=1 data.batch_size=8 sync_batchnorm=true save_every_steps=1"
TOLERANCE = {"rtol": 1e-3, "atol": 1e-4}  # of float32 sums in another order, through 20 steps; the same sums in
# float64 agree to 1e-10 (test_synced_norms). At rates that learn, rounding grows tenfold a step in a network from
# scratch whose batch norms see 16 numbers a channel, in one process as well, so the rate is as good as none.


def can_make_namespaces() -> bool:
    if sys.platform != "linux" or os.geteuid() or not shutil.which("ip"):
        return False
    name = f"dotcom{os.getpid()}"  # two processes of the test ask at once
    return ip("netns", "add", name, check=False) and ip("netns", "delete", name)


pytestmark = pytest.mark.slow
NAMESPACES = can_make_namespaces()


def settings(folder: Path, *more: str) -> list[str]:
    return [*SMALL.split(), f"+callbacks.losses.folder={folder}", f"hydra.run.dir={folder}", *more]


def start(network: Network | None, folder: Path, *more: str) -> list[Host]:
    """A run on two hosts; on two processes of this one where there is no network."""
    folder.mkdir(exist_ok=True)
    attempt = len(list(folder.glob("log-*-0.txt")))
    hosts = []
    for number in (0, 1):
        env = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(PORT), "NODE_RANK": str(number)}
        if network:
            env |= {"MASTER_ADDR": ADDRESSES[0], "GLOO_SOCKET_IFNAME": network.cards[number]}
        overrides = settings(folder, *TWO.split(), "hardware.num_nodes=2", *more)
        log = folder / f"log-{attempt}-{number}.txt"
        hosts.append(Host(log, overrides, network.names[number] if network else None, **env))
    return hosts


@pytest.fixture(scope="module")
def network():
    if not NAMESPACES:
        yield None
        return
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


def gradients(folder: Path) -> torch.Tensor:
    """Of all weights, summed up over the steps as SGD's momentum does."""
    (optimizer,) = torch.load(folder / "last.ckpt", weights_only=True)["optimizer_states"]
    return torch.cat([state["momentum_buffer"].flatten() for state in optimizer["state"].values()])


@pytest.mark.skipif(not NAMESPACES, reason="network namespaces need Linux, root and the command ip")
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
    one_sum, two_sums = gradients(one), gradients(unharmed)
    assert (one_sum - two_sums).norm() < 0.01 * one_sum.norm()
    said = (unharmed / "log-0-0.txt").read_text()
    assert "16 images a step (8 x 2 processes), learning rate 1e-06, batch norms over all processes" in said


@pytest.mark.skipif(not NAMESPACES, reason="network namespaces need Linux, root and the command ip")
def test_lost_host__ends_the_other_which_goes_on_to_the_same_result(network, unharmed, tmp_path):
    folder = tmp_path / "run"
    for lose, step in ((lambda hosts: hosts[1].kill(), 5), (lambda hosts: network.plug("down"), 13)):
        hosts = start(network, folder, "resume=true")
        wait_until(lambda step=step: step in losses(folder, 0))
        lose(hosts)
        since = time.monotonic()
        code, said = hosts[0].end()
        print(f"host 0 ended {time.monotonic() - since:.1f} s after host 1 was lost: {said.splitlines()[-1]}")
        assert time.monotonic() - since < 60
        assert code == 2, said
        lines = said.splitlines()
        assert [line for line in lines if line.startswith("error: lost contact with another process of this run (")]
        assert "Traceback" not in said
        assert "frame #" not in said
        hosts[1].end()
        network.plug("up")
    for host in start(network, folder, "resume=true"):
        code, said = host.end()
        assert code == 0, said
    assert_same_run(folder, unharmed)
    assert set(losses(folder, 0)) == set(range(1, STEPS + 1))


def test_torchrun__starts_a_killed_process_again_to_the_same_result(unharmed, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    paths = os.pathsep.join([str(REPO / "tests/devices"), str(REPO / "tests"), os.environ.get("PYTHONPATH", "")])
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3"]
    two = TWO.replace("hardware.devices=1 ", "").split()
    agent = subprocess.Popen(
        [sys.executable, *torchrun, str(REPO / "train.py"), *settings(folder, *two, "resume=true")],
        env=os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1", "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    wait_until(lambda: 5 in losses(folder, 0))
    children = Path(f"/proc/{agent.pid}/task/{agent.pid}/children").read_text().split()
    os.kill(int(children[-1]), signal.SIGKILL)
    said, _ = agent.communicate(timeout=600)
    assert agent.returncode == 0, said
    assert_same_run(folder, unharmed)
