"""Training on the CPU: what the trainer costs, and how much faster our settings are than a plain loop."""

import statistics
from collections.abc import Callable, Iterator

import numpy as np
import torch
from hydra.utils import instantiate
from torch import Tensor, nn

from dotcom.bench.infer import no_bf16
from dotcom.bench.overhead import default, plain, trained, waits
from dotcom.bench.reference import reference
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.watch import Watch, shown
from dotcom.benchmark.host import host
from dotcom.benchmark.session import turns
from dotcom.models import Classifier, DoTCoM
from dotcom.models.dotcom import VARIANTS, DoTCoMConfig

CLASSES = 10
STEPS = 200  # of the null network in a turn
GIVEN_BACK = "preset, memory given back"
ROUNDS = {"quick": 3, "normal": 5, "full": 9}  # of whole steps, each of which takes a second or more

Step = Callable[[], Tensor]


def rows(effort: Effort, watch: Watch) -> Iterator[Row]:
    """The trainer on a null network; a step of DoTCoM-Tiny with 32 images of 128 pixels."""
    yield overhead(watch, STEPS, watch.rounds)
    yield from steps(watch, VARIANTS["tiny"], batch=32, pixels=128, rounds=ROUNDS[effort])


def overhead(watch: Watch, count: int, rounds: int) -> Row:
    """CPU milliseconds that a step takes longer in the trainer, with all defaults, than in a plain loop.

    Args:
        watch: Of the bench.
        count: Steps of a turn.
        rounds: Turns of both.
    """
    watch.start()
    kinds: dict[str, Callable[[int], float]] = {"plain": plain, "trained": trained}
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for number in shown(range(rounds), "training a null network"):
        watch.beat()
        for name in turns(list(kinds), number):
            times[name].append(kinds[name](count))
    watch.beat()
    more = [one - other for one, other in zip(times["trained"], times["plain"], strict=True)]
    low, high = np.quantile(more, (0.2, 0.8))
    found = waits(12, every=5)
    return Row(
        "train",
        "overhead",
        statistics.median(more),
        "ms/step",
        numbers={"waits": float(len(found))},
        facts=(
            f"20 to 80 %: {low:.2f} to {high:.2f}",
            f"plain {statistics.median(times['plain']):.2f}, preset {statistics.median(times['trained']):.2f} ms",
            f"{len(found)} device waits in steps that are not logged",
        ),
    )


def steps(watch: Watch, config: DoTCoMConfig, batch: int, pixels: int, rounds: int) -> Iterator[Row]:
    """A plain float32 loop with the reference network, and our settings for a CPU, without and with bf16.

    Kept memory is one of the settings; the plain loop does without, and so does one more variant of ours.
    """
    kinds = {"plain loop": step(config, batch, pixels, preset=False, bf16=False)}
    for name in ("preset", GIVEN_BACK):
        kinds[name] = step(config, batch, pixels, preset=True, bf16=False)
    without = no_bf16(host()["instructions"])
    if not without:
        kinds["preset bf16"] = step(config, batch, pixels, preset=True, bf16=True)
    first = {name: float(run()) for name, run in kinds.items()}
    times = watch.turns(kinds, "training steps", rounds, plain=("plain loop", GIVEN_BACK))
    for name in kinds:
        yield Row(
            "train",
            name,
            1000 * batch / times.ms(name),
            "images/s",
            ratio=None if name == "plain loop" else times.ratio("plain loop", name),
            difference=abs(first[name] - first["plain loop"]),
            facts=("difference: of the first loss", f"{times.ms(name):.0f} ms/step"),
        )
    if without:
        yield skipped("train", "preset bf16", without)


def step(config: DoTCoMConfig, batch: int, pixels: int, preset: bool, bf16: bool) -> Step:
    """A step of training that returns its loss.

    Args:
        config: Of the network.
        batch: Images.
        pixels: Their side.
        preset: With our network, layout and optimiser, as the configuration has them for a CPU; else the reference in
            NCHW with PyTorch's own AdamW.
        bf16: Mixed precision.
    """
    torch.manual_seed(0)
    network: nn.Module = Classifier(DoTCoM(config), CLASSES)
    images, labels = torch.randn(batch, 3, pixels, pixels), torch.randint(CLASSES, (batch,))
    if preset:
        layout = torch.channels_last if default().hardware.channels_last else torch.contiguous_format
        network = network.to(memory_format=layout)
        optimizer = instantiate(default().optimizer)(network.parameters())
    else:
        network = reference(network)
        optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=0.005)

    def run() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = nn.functional.cross_entropy(network(images), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
        return loss.detach()

    return run
