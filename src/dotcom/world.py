"""The processes that train together: who started them, which one this is, and whether they are as many as asked for.

Nothing here imports torch: what cannot work is said before anything heavy is imported.
"""

import os
from collections.abc import Collection, Mapping
from typing import Any, Literal

from dotcom.errors import UsageError

Launcher = Literal["torchrun", "Slurm"]

INTERACTIVE = ("bash", "interactive")  # names of Slurm jobs in which processes are started by hand, as Lightning has it


def launcher() -> Launcher | None:
    """What started every process of this run; None if Lightning starts those beside the first of each node."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return "torchrun"
    if "SLURM_NTASKS" in os.environ and os.environ.get("SLURM_JOB_NAME") not in INTERACTIVE:
        return "Slurm"
    return None


def launched(fact: str, otherwise: Any) -> Any:
    """How many ``devices`` on each node, or ``nodes``, the launcher has started; ``otherwise`` without one."""
    started_by, env = launcher(), os.environ
    if started_by == "torchrun":
        return int(env["LOCAL_WORLD_SIZE"] if fact == "devices" else env["GROUP_WORLD_SIZE"])
    if started_by == "Slurm":
        nodes = int(env.get("SLURM_NNODES", 1))
        return (
            int(env.get("SLURM_NTASKS_PER_NODE") or int(env["SLURM_NTASKS"]) // nodes) if fact == "devices" else nodes
        )
    return otherwise


def node_rank() -> int:
    """The number of this machine among those of the run, from 0 on."""
    names = {"torchrun": ("GROUP_RANK",), "Slurm": ("SLURM_NODEID",), None: ("NODE_RANK", "GROUP_RANK")}
    name = next((name for name in names[launcher()] if name in os.environ), None)
    if name and not os.environ[name].isdigit():
        raise UsageError(f"{name}={os.environ[name]}: expected the number of this machine, from 0 on")
    return int(os.environ[name]) if name else 0


def local_rank() -> int:
    """The number of this process on its machine, from 0 on."""
    return int(os.environ.get("SLURM_LOCALID" if launcher() == "Slurm" else "LOCAL_RANK", 0))


def is_first() -> bool:
    """Whether this is the process that writes, of all that train together: the first one of the first node."""
    return node_rank() == 0 and local_rank() == 0


def meets_others(hardware: Mapping[str, Any]) -> bool:
    """Whether this process speaks for its node when nodes that were started by hand meet."""
    return launcher() is None and hardware["num_nodes"] > 1 and local_rank() == 0


def check_sweep(hardware: Mapping[str, Any]) -> None:
    """A sweep of our own launcher starts its jobs itself, on this machine.

    Raises:
        UsageError: If it was itself started several times, or its jobs are to run on several nodes.
    """
    if launched("devices", 1) * launched("nodes", 1) > 1:
        raise UsageError(f"-m: {launcher()} started the sweep several times; start it once, it starts its jobs itself")
    if hardware["num_nodes"] > 1:
        raise UsageError(
            f"-m hardware.num_nodes={hardware['num_nodes']}: a sweep runs on one machine; on a cluster, "
            "hydra/launcher=submitit_slurm starts each job on several nodes"
        )


def check_world(hardware: Mapping[str, Any], folder: str, given: Collection[str]) -> None:
    """The processes that were started are those that ``hardware`` describes, and write to one folder.

    Args:
        hardware: The group of that name, as plain values.
        folder: The key that names the folder, of a run or of a sweep.
        given: The keys that the command line holds.

    Raises:
        UsageError: If Lightning would refuse them, wait for ever, or train several times side by side.
    """
    started_by = launcher()
    nodes = hardware["num_nodes"]
    if started_by:
        check_launched(started_by, hardware)
        several = launched("devices", 1) * launched("nodes", 1) > 1
    else:
        check_by_hand(nodes)
        several = nodes > 1
    if several and folder not in given:
        how = f"with {started_by}" if started_by else f"with hardware.num_nodes={nodes}"
        raise UsageError(
            f"{folder}: expected {how}, or each process would name a folder after its own clock; "
            f"add {folder}=runs/NAME, the same for all"
        )


def check_launched(started_by: Launcher, hardware: Mapping[str, Any]) -> None:
    """Torchrun or Slurm started as many processes as the trainer will ask for."""
    asked, nodes = per_node(hardware["devices"]), hardware["num_nodes"]
    there = launched("devices", 1), launched("nodes", 1)
    if started_by == "Slurm" and there != (1, 1) and "SLURM_STEP_ID" not in os.environ:
        raise UsageError("Slurm: only the first of its tasks was started; put srun in front of python")
    if asked in (None, there[0]) and nodes == there[1]:
        return
    found = (
        f"{started_by} started {there[0]} on each of {there[1]}" if there[1] > 1 else f"{started_by} started {there[0]}"
    )
    flags = {
        "torchrun": f"torchrun --nnodes={nodes} --nproc-per-node={asked or 'gpu'}",
        "Slurm": f"--nodes={nodes} --ntasks-per-node={asked or 'GPUS'}",
    }
    raise UsageError(
        f"hardware.devices={hardware['devices']} hardware.num_nodes={nodes}: {found}; choose hardware=ddp or ddp_cpu, "
        f"which take both numbers from it, or start it with {flags[started_by]}"
    )


def per_node(devices: Any) -> int | None:
    """How many processes ``hardware.devices`` means on each node; None where the machine decides."""
    if isinstance(devices, list):
        return len(devices)
    return devices if isinstance(devices, int) and devices > 0 else None


def check_by_hand(nodes: int) -> None:
    """With several nodes and no launcher, the environment tells each which it is, and where the first one is."""
    rank = os.environ.get("NODE_RANK")
    if nodes > 1 and (
        missing := [name for name in ("MASTER_ADDR", "MASTER_PORT", "NODE_RANK") if not os.environ.get(name)]
    ):
        raise UsageError(
            f"hardware.num_nodes={nodes}: {' and '.join(missing)} not set; start each node with MASTER_ADDR=HOST "
            f"MASTER_PORT=29500 NODE_RANK=N python train.py ..., N from 0 on, HOST the one with 0; or use torchrun"
        )
    if rank is not None and not (rank.isdigit() and int(rank) < nodes):
        advice = f"; or add hardware.num_nodes={int(rank) + 1}" if rank.isdigit() else ""
        raise UsageError(f"NODE_RANK={rank}: expected 0 to {nodes - 1}, as hardware.num_nodes={nodes}{advice}")
    port = os.environ.get("MASTER_PORT", "29500")
    if nodes > 1 and not (port.isdigit() and 0 < int(port) < 65536):
        raise UsageError(f"MASTER_PORT={port}: expected a number from 1 to 65535, such as 29500")
