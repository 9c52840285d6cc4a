"""Training and compiled inference on a GPU, beside the limits that the bandwidth of its memory sets."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from dotcom.bench.device import copy_bandwidth, in_turns, inference, top_operations, training
from dotcom.bench.networks import CLASSES, configs
from dotcom.bench.reference import reference
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.traffic import traffic
from dotcom.bench.watch import Watch
from dotcom.benchmark.statistics import Ratio, paired_ratio
from dotcom.models import Classifier, DoTCoM
from dotcom.models.dotcom import DoTCoMConfig

PAPER = 3.0e12  # bytes/s that an H100 copies, for limits without a GPU
ROUNDS: dict[Effort, int] = {"quick": 3, "normal": 5, "full": 9}


@dataclass(frozen=True)
class Setting:
    """How a section is run.

    Args:
        device: A GPU, or the CPU to try the section out.
        batch: Images.
        size: Their side in pixels.
        rounds: Turns of each row.
        steps: Calls of a turn.
        compiled: Whether inference is compiled, which takes a minute.
    """

    device: torch.device
    batch: int = 128
    size: int = 256
    rounds: int = 5
    steps: int = 10
    compiled: bool = True


def rows(effort: Effort, watch: Watch) -> Iterator[Row]:
    """The sizes of the effort on the GPU; without one, the limits on paper."""
    if torch.cuda.is_available():
        torch.backends.cudnn.benchmark = True
        for name, config in configs(effort).items():
            yield from measured(name, config, Setting(torch.device("cuda"), rounds=ROUNDS[effort]))
    else:
        for name, config in configs(effort).items():
            yield from on_paper(name, config, Setting(torch.device("meta")))


def on_paper(name: str, config: DoTCoMConfig, setting: Setting) -> Iterator[Row]:
    """What the section would measure, and how fast an H100 could be at most."""
    for what, limits in limits_of(config, setting, PAPER).items():
        said = ", ".join(f"{letter} {images:.0f} images/s" for letter, images in limits.items())
        yield skipped("gpu", f"{name} {what}", f"no GPU; limits on paper at {PAPER / 1e12:.1f} TB/s: {said}")


def limits_of(config: DoTCoMConfig, setting: Setting, bandwidth: float) -> dict[str, dict[str, float]]:
    """Images per second at most: A for operations as they are written, C with all but products fused away."""
    with torch.device("meta"):
        network = Classifier(DoTCoM(config), CLASSES)
    limits = {}
    for what in ("training", "inference"):
        moved = traffic(network, setting.batch, setting.size, what == "training")
        limits[what] = {letter: moved.per_second(setting.batch, bandwidth, letter == "C") for letter in "AC"}
    return limits


def measured(name: str, config: DoTCoMConfig, setting: Setting) -> Iterator[Row]:
    """One size: training of the reference and of ours, what ours spends its time on, and inference."""
    bandwidth = copy_bandwidth(setting.device)
    limits = limits_of(config, setting, bandwidth)
    torch.manual_seed(0)
    network = Classifier(DoTCoM(config), CLASSES).to(setting.device)
    images = torch.randn(setting.batch, 3, setting.size, setting.size, device=setting.device)
    plain = training(reference(network), images)
    ours = training(network.to(memory_format=torch.channels_last), images)
    times = in_turns({"reference training": plain, "training": ours}, setting.device, setting.rounds, setting.steps)
    ratio = paired_ratio(times["reference training"], times["training"])
    said = f"copies {bandwidth / 1e12:.2f} TB/s"
    yield row(f"{name} reference training", times["reference training"], setting.batch, limits["training"], [said])
    yield row(f"{name} training", times["training"], setting.batch, limits["training"], [said], ratio)
    yield Row("gpu", f"{name} profile", facts=top_operations(ours, setting.device))
    run = inference(network, images, setting.compiled)
    times = in_turns({"inference": run}, setting.device, setting.rounds, setting.steps)
    yield row(f"{name} inference", times["inference"], setting.batch, limits["inference"], [said])


def row(
    name: str,
    times: Sequence[float],
    batch: int,
    limits: Mapping[str, float],
    facts: Sequence[str],
    ratio: Ratio | None = None,
) -> Row:
    """Images per second, and what fraction of each limit they are.

    Args:
        name: Of the row.
        times: Seconds of a batch, by round.
        batch: Images.
        limits: Images per second, by letter.
        facts: To be shown after the limits.
        ratio: To the reference.
    """
    rate = batch / sorted(times)[len(times) // 2]
    of = {f"of {letter}": rate / limit for letter, limit in limits.items()}
    shown = [f"{rate / limit:.2f} of {letter} ({limit:.0f})" for letter, limit in limits.items()]
    return Row("gpu", name, rate, "images/s", ratio, numbers=of, facts=(*shown, *facts))
