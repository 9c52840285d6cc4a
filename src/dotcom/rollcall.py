"""The nodes of a run that was started by hand meet before any of them imports torch.

Without it, a wrong address would show after minutes of silence, and two nodes of different settings as a wrong result.
"""

import json
import os
import select
import socket
import time
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from typing import Any

from dotcom.errors import UsageError, counted

POLL = 0.5  # seconds between two tries, and the time after which one is told that it waits
ANSWER = 10.0  # seconds for a line that is under way


def roll_call(nodes: int, facts: Mapping[str, Any], patience: float) -> None:
    """Return once all nodes are there and agree.

    Args:
        nodes: How many there are; ``NODE_RANK``, ``MASTER_ADDR`` and ``MASTER_PORT`` say which is where.
        facts: Plain values that must be equal on all of them.
        patience: Seconds to wait.

    Raises:
        UsageError: If the port is in use, a node does not come, comes twice, or has other settings.
    """
    rank, port = int(os.environ["NODE_RANK"]), int(os.environ["MASTER_PORT"])
    deadline = time.monotonic() + patience
    if rank == 0:
        receive(nodes, dict(facts), port, deadline, patience)
    else:
        answer(rank, dict(facts), os.environ["MASTER_ADDR"], port, deadline, patience)


def receive(nodes: int, facts: dict[str, Any], port: int, deadline: float, patience: float) -> None:
    """On the first node: wait for the others, compare, and tell each of them the outcome."""
    with ExitStack() as opened:
        server = opened.enter_context(listen(port))
        there: dict[int, socket.socket] = {}
        problem, told = None, False
        while problem is None and len(there) < nodes - 1:
            absent = [str(rank) for rank in range(1, nodes) if rank not in there]
            if time.monotonic() > deadline:
                problem = (
                    f"MASTER_PORT={port}: after {patience:g} s {counted(len(absent), 'node')} of {nodes} had not come; "
                    f"start the same command there with NODE_RANK={'|'.join(absent)}"
                )
                break
            try:
                connection = opened.enter_context(server.accept()[0])
            except TimeoutError:
                if not told:
                    print(f"waiting for NODE_RANK={'|'.join(absent)} at port {port}", flush=True)
                told = True
                continue
            met = read(connection)
            there = {rank: waiting for rank, waiting in there.items() if not hung_up(waiting)}
            if met and isinstance(met.get("node"), int) and isinstance(met.get("facts"), dict):
                problem = disagreement(met, facts, set(there), nodes)
                there[-1 if problem else met["node"]] = connection
        for connection in there.values():
            with suppress(OSError):  # it is gone: the training itself will miss it
                connection.sendall(json.dumps({"problem": problem}).encode() + b"\n")
            read(connection)  # they hang up first, so that the port is free at once
        if problem:
            raise UsageError(problem)


def listen(port: int) -> socket.socket:
    """A socket at that port of every address of this machine."""
    try:
        server = socket.create_server(("", port))
    except OSError as error:
        why = os.strerror(error.errno or 0).lower()
        raise UsageError(f"MASTER_PORT={port}: {why} on this machine; choose another, the same on every node") from None
    server.settimeout(POLL)
    return server


def hung_up(connection: socket.socket) -> bool:
    """Whether a node that had come is gone again; started once more, it may introduce itself once more."""
    readable, _, _ = select.select([connection], [], [], 0)
    try:
        return bool(readable) and connection.recv(1, socket.MSG_PEEK) == b""
    except OSError:
        return True


def disagreement(met: dict[str, Any], facts: dict[str, Any], there: set[int], nodes: int) -> str | None:
    """Why the node that has introduced itself cannot take part, or None."""
    rank, theirs = met["node"], met["facts"]
    if rank in there or not 0 < rank < nodes:
        return f"NODE_RANK={rank}: two nodes have that number; give each another, from 0 to {nodes - 1}"
    differing = [key for key in facts if theirs.get(key) != facts[key]]
    if differing:
        pairs = ", ".join(f"{key}={theirs.get(key)} instead of {facts[key]}" for key in differing)
        return f"NODE_RANK={rank}: it has {pairs}; start every node with the same command and the same code"
    return None


def answer(rank: int, facts: dict[str, Any], address: str, port: int, deadline: float, patience: float) -> None:
    """On another node: introduce itself to the first one, and hear what it says."""
    where = f"MASTER_ADDR={address} MASTER_PORT={port}"
    reason, told = "", False
    while time.monotonic() < deadline:
        try:
            with socket.create_connection(
                (address, port), timeout=min(ANSWER, max(POLL, deadline - time.monotonic()))
            ) as first:
                first.sendall(json.dumps({"node": rank, "facts": facts}).encode() + b"\n")
                first.settimeout(max(POLL, deadline - time.monotonic()) + ANSWER)
                heard = read(first)
        except socket.gaierror as error:
            raise UsageError(
                f"MASTER_ADDR={address}: {str(error.strerror).lower()}; expected a name or address"
            ) from None
        except OSError as error:  # it may still be starting
            reason = f" ({error.strerror.lower()})" if error.strerror else ""
        else:
            if heard is None or "problem" not in heard:
                raise UsageError(f"{where}: what answers there is no first node of this run, or it has ended")
            if heard["problem"]:
                raise UsageError(heard["problem"])
            return
        if not told:
            print(f"waiting for the first node at {address}:{port}", flush=True)
            told = True
        time.sleep(POLL)
    raise UsageError(
        f"{where}: nobody answered there within {patience:g} s{reason}; expected the node with NODE_RANK=0, "
        "started with the same command; a firewall must let that port through"
    )


def read(connection: socket.socket) -> dict[str, Any] | None:
    """One line of JSON, or None if what comes is nothing of the kind."""
    connection.settimeout(connection.gettimeout() or ANSWER)
    try:
        with connection.makefile("rb") as stream:
            line = json.loads(stream.readline(65536))
    except (OSError, ValueError):
        return None
    return line if isinstance(line, dict) else None
