"""What is timed on a GPU, and how: by the wall, with the queue of the device empty before and after."""

import time
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from dotcom.benchmark.session import turns

COPIED = {"cuda": 2**28, "cpu": 2**20}  # float32 numbers of the copy that measures the bandwidth
WARM_UP = 3  # calls before the first turn; more where cuDNN or the compiler still chooses
TOP = 8  # operations of a profile

Run = Callable[[], object]


def wait(device: torch.device) -> None:
    """Until it has done everything."""
    if device.type != "cpu":
        torch.get_device_module(device).synchronize()


def timed(run: Run, calls: int, device: torch.device) -> float:
    """Seconds of a call, of several in a row."""
    wait(device)
    started = time.perf_counter()
    for _ in range(calls):
        run()
    wait(device)
    return (time.perf_counter() - started) / calls


def in_turns(kinds: Mapping[str, Run], device: torch.device, rounds: int, calls: int) -> dict[str, list[float]]:
    """Seconds of a call of each, by round, forwards and backwards."""
    for run in kinds.values():
        timed(run, WARM_UP, device)
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(rounds):
        for name in turns(list(kinds), number):
            times[name].append(timed(kinds[name], calls, device))
    return times


def copy_bandwidth(device: torch.device) -> float:
    """Bytes per second that a copy reads and writes, the best of a few."""
    source = torch.ones(COPIED[device.type], device=device)
    target = torch.empty_like(source)
    times = in_turns({"copy": lambda: target.copy_(source)}, device, rounds=5, calls=5)["copy"]
    return 2 * source.nbytes / min(times)


def training(network: nn.Module, images: Tensor) -> Run:
    """A step in mixed bf16 with fused AdamW, as ``hardware=gpu`` trains; in the layout that the network has."""
    network.train()
    optimizer = torch.optim.AdamW(network.parameters(), fused=True)
    labels = torch.zeros(len(images), dtype=torch.long, device=images.device)

    def run() -> None:
        with torch.autocast(images.device.type, torch.bfloat16):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    return run


def inference(network: nn.Module, images: Tensor, compiled: bool) -> Run:
    """A forward pass in bf16 and channels_last; the network becomes that, and evaluates from here on."""
    network = network.bfloat16().to(memory_format=torch.channels_last).eval()
    images = images.bfloat16().to(memory_format=torch.channels_last)
    if compiled:
        network.compile()

    @torch.no_grad()
    def run() -> None:
        network(images)

    return run


def top_operations(run: Run, device: torch.device) -> tuple[str, ...]:
    """The operations that take most of the time of the device, with their share."""
    activities = [ProfilerActivity.CPU] + ([ProfilerActivity.CUDA] if device.type == "cuda" else [])
    with profile(activities=activities) as found:
        run()
        wait(device)
    spent = {each.key: time_of(each, device) for each in found.key_averages()}
    whole = sum(spent.values()) or 1.0
    largest = sorted(spent, key=lambda name: -spent[name])[:TOP]
    return tuple(f"{spent[name] / whole:.0%} {name.removeprefix('aten::')[:60]}" for name in largest)


def time_of(event: object, device: torch.device) -> float:
    """Of the event itself, without those that it calls."""
    return float(getattr(event, "self_cpu_time_total" if device.type == "cpu" else "self_device_time_total"))
