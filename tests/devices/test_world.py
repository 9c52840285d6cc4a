"""Processes that do not fit the settings, or do not meet, are told so in one line before torch is imported."""

import json
import os
import socket
import threading
import time

import pytest

from dotcom.errors import UsageError, explain
from dotcom.rollcall import answer, receive
from dotcom.world import check_sweep, check_world, is_first, launched
from test_errors import watched

TORCHRUN = {"TORCHELASTIC_RUN_ID": "x", "RANK": "0", "LOCAL_RANK": "0", "GROUP_RANK": "0"}
TORCHRUN |= {"LOCAL_WORLD_SIZE": "2", "GROUP_WORLD_SIZE": "2", "WORLD_SIZE": "4"}
SLURM = {"SLURM_NTASKS": "4", "SLURM_NNODES": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_PROCID": "0"}
SLURM |= {"SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_STEP_ID": "0", "SLURM_JOB_NAME": "x"}
HAND = {"MASTER_ADDR": "a", "MASTER_PORT": "29500", "NODE_RANK": "0"}
FACTS = {"settings": "0a1b2c3d", "torch": "2.9"}


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*TORCHRUN, *SLURM, *HAND):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("env", "first"),
    [
        ({}, True),
        ({"LOCAL_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "1"}, False),
        ({"NODE_RANK": "1"}, False),
        ({"LOCAL_RANK": "0", "NODE_RANK": "0"}, True),
        (TORCHRUN, True),
        (TORCHRUN | {"RANK": "1", "LOCAL_RANK": "1"}, False),
        (TORCHRUN | {"RANK": "2", "GROUP_RANK": "1"}, False),
        (SLURM, True),
        (SLURM | {"SLURM_PROCID": "2", "SLURM_NODEID": "1"}, False),
        (SLURM | {"SLURM_PROCID": "1", "SLURM_LOCALID": "1"}, False),
        (SLURM | {"SLURM_JOB_NAME": "bash", "SLURM_NODEID": "1"}, True),
    ],
)
def test_first_process__is_the_first_of_the_first_node(monkeypatch, env, first):
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert is_first() is first


@pytest.mark.parametrize("env", [TORCHRUN, SLURM, {k: v for k, v in SLURM.items() if k != "SLURM_NTASKS_PER_NODE"}])
def test_launched__is_what_the_launcher_says(monkeypatch, env):
    assert (launched("devices", "auto"), launched("nodes", 1)) == ("auto", 1)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    assert (launched("devices", "auto"), launched("nodes", 1)) == (2, 2)


@pytest.mark.parametrize(
    ("env", "devices", "nodes", "given", "said"),
    [
        (TORCHRUN, 2, 2, True, None),
        (TORCHRUN, "auto", 2, True, None),
        (TORCHRUN, 2, 2, False, "hydra.run.dir: expected with torchrun, or each process would name a folder after its"),
        (
            TORCHRUN,
            1,
            1,
            True,
            "hardware.devices=1 hardware.num_nodes=1: torchrun started 2 on each of 2; choose hardw",
        ),
        (TORCHRUN, 4, 1, True, "or start it with torchrun --nnodes=1 --nproc-per-node=4"),
        (SLURM, [0, 1], 2, True, None),
        (SLURM, 8, 2, True, "or start it with --nodes=2 --ntasks-per-node=8"),
        (
            SLURM | {"SLURM_STEP_ID": ""},
            2,
            2,
            True,
            "Slurm: only the first of its tasks was started; put srun in front",
        ),
        ({}, 2, 1, False, None),
        (
            {},
            1,
            2,
            True,
            "hardware.num_nodes=2: MASTER_ADDR and MASTER_PORT and NODE_RANK not set; start each node with",
        ),
        (HAND, 1, 2, True, None),
        (HAND, 1, 2, False, "hydra.run.dir: expected with hardware.num_nodes=2"),
        (
            HAND | {"NODE_RANK": "2"},
            1,
            2,
            True,
            "NODE_RANK=2: expected 0 to 1, as hardware.num_nodes=2; or add hardware.nu",
        ),
        (
            HAND | {"NODE_RANK": "1"},
            1,
            1,
            True,
            "NODE_RANK=1: expected 0 to 0, as hardware.num_nodes=1; or add hardware.nu",
        ),
        (HAND | {"NODE_RANK": "x"}, 1, 2, True, "NODE_RANK=x: expected 0 to 1"),
        (HAND | {"MASTER_PORT": "70000"}, 1, 2, True, "MASTER_PORT=70000: expected a number from 1 to 65535"),
    ],
)
def test_world__is_the_one_asked_for(monkeypatch, env, devices, nodes, given, said):
    for name, value in env.items():
        monkeypatch.setenv(name, value) if value else monkeypatch.delenv(name, raising=False)
    keys = ["hydra.run.dir"] if given else []
    if said is None:
        check_world({"devices": devices, "num_nodes": nodes}, "hydra.run.dir", keys)
        return
    with pytest.raises(UsageError) as raised:
        check_world({"devices": devices, "num_nodes": nodes}, "hydra.run.dir", keys)
    assert said in str(raised.value)


def test_sweep__is_started_once_and_on_one_machine(monkeypatch):
    with pytest.raises(UsageError, match="a sweep runs on one machine; on a cluster"):
        check_sweep({"devices": 1, "num_nodes": 2})
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError, match="torchrun started the sweep several times"):
        check_sweep({"devices": 1, "num_nodes": 1})


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return server.getsockname()[1]


def meeting(port: int, *others: tuple[int, dict[str, str]], nodes: int, patience: float = 5.0) -> list[str | None]:
    """What each node is told, the first one first."""
    said: list[str | None] = [None] * (len(others) + 1)

    def attend(place: int, work, *args) -> None:
        try:
            work(*args, port, time.monotonic() + patience, patience)
        except UsageError as error:
            said[place] = str(error)

    threads = [threading.Thread(target=attend, args=(0, receive, nodes, FACTS))]
    for place, (rank, facts) in enumerate(others, 1):
        threads.append(threading.Thread(target=attend, args=(place, answer, rank, facts, "127.0.0.1")))
    for thread in reversed(threads):
        thread.start()
    for thread in threads:
        thread.join()
    return said


def test_nodes_that_agree__meet_and_leave_the_port_free(port):
    assert meeting(port, (1, FACTS), (2, FACTS), nodes=3) == [None, None, None]
    with socket.create_server(("", port)):
        pass


def test_nodes_that_differ__are_told_so_on_both_sides(port):
    first, second = meeting(port, (1, FACTS | {"torch": "2.8"}), nodes=2)
    assert first == second
    assert str(first).startswith("NODE_RANK=1: it has torch=2.8 instead of 2.9; start every node with the same command")


def test_two_nodes_of_one_number__are_told_so(port):
    said = meeting(port, (1, FACTS), (1, FACTS), nodes=3)
    assert {str(line)[:43] for line in said} == {"NODE_RANK=1: two nodes have that number; gi"}


def test_node_that_is_started_once_more__takes_part(port):
    """It had come, and was stopped while the first node waited for another one."""
    said: list[str | None] = [None]
    first = threading.Thread(target=lambda: said.__setitem__(0, receive(3, FACTS, port, time.monotonic() + 8, 8)))
    first.start()
    while True:
        try:
            with socket.create_connection(("127.0.0.1", port)) as gone:
                gone.sendall(json.dumps({"node": 1, "facts": FACTS}).encode() + b"\n")
            break
        except ConnectionRefusedError:
            time.sleep(0.05)
    for rank in (1, 2):
        threading.Thread(
            target=answer, args=(rank, FACTS, "127.0.0.1", port, time.monotonic() + 8, 8), daemon=True
        ).start()
    first.join(15)
    assert not first.is_alive()
    assert said == [None]


def test_node_that_does_not_come__is_named(port):
    first, second = meeting(port, (2, FACTS), nodes=3, patience=1.0)
    assert first == second
    assert str(first).startswith(
        f"MASTER_PORT={port}: after 1 s 1 node of 3 had not come; start the same command there"
    )


def test_first_node_that_is_not_there__is_one_line_in_time(monkeypatch, tmp_path, port):
    for name, value in (HAND | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "NODE_RANK": "1"}).items():
        monkeypatch.setenv(name, value)
    started = time.monotonic()
    done = watched(tmp_path, "hardware=ddp_cpu", "hardware.num_nodes=2", "join_timeout=2", "hydra.run.dir=run")
    assert (done.returncode, time.monotonic() - started < 60) == (2, True)
    assert done.stderr.startswith(f"error: MASTER_ADDR=127.0.0.1 MASTER_PORT={port}: nobody answered there within 2 s")
    assert done.stderr.count("\n") == 1
    assert "torch imported: False" in done.stdout
    assert not (tmp_path / "run/run.json").exists()


def test_port_in_use__is_one_line(monkeypatch, tmp_path):
    with socket.create_server(("", 0)) as server:
        port = server.getsockname()[1]
        for name, value in (HAND | {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}).items():
            monkeypatch.setenv(name, value)
        done = watched(tmp_path, "hardware=ddp_cpu", "hardware.num_nodes=2", "hydra.run.dir=run")
    said = (
        f"error: MASTER_PORT={port}: address already in use on this machine; choose another, the same on every node\n"
    )
    assert (done.returncode, done.stderr) == (2, said)


def test_loss_of_a_process__is_no_bug_and_a_bug_is_no_loss():
    gloo = "[../third_party/gloo/gloo/transport/tcp/pair.cc:547] Connection closed by peer [10.0.0.2]:3592"
    assert str(explain(RuntimeError(gloo))).startswith(
        "lost contact with another process of this run (Connection closed by peer [10.0.0.2]:3592); see its own last"
    )
    assert explain(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    assert os.environ.get("MASTER_PORT") is None


def test_number_of_a_machine__that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("NODE_RANK", "foo")
    with pytest.raises(UsageError, match="NODE_RANK=foo: expected the number of this machine, from 0 on"):
        is_first()
