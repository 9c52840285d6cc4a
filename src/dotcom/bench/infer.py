"""Inference in PyTorch itself, batch 1: the deployed form, and the same in bf16, against the plain mode."""

from collections.abc import Callable, Iterator, Mapping

import torch
from torch import Tensor

from dotcom.bench.networks import SIZE, Subject, configs, inference
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.watch import Watch
from dotcom.benchmark.host import host
from dotcom.deploy.graph import deployed, in_place
from dotcom.models.dotcom import DoTCoMConfig

FAST_BF16 = {"avx512_bf16", "amx_bf16", "bf16"}  # instructions without which bf16 is emulated


def rows(effort: Effort, watch: Watch) -> Iterator[Row]:
    """Every size of the effort at 256 pixels."""
    yield from measured(configs(effort), SIZE, watch)


def measured(sizes: Mapping[str, DoTCoMConfig], pixels: int, watch: Watch) -> Iterator[Row]:
    """Three forms of each size, in turns."""
    without = no_bf16(host()["instructions"])
    for name, config in sizes.items():
        subject = Subject(config, pixels)
        forms = {"reference": inference(subject.plain, subject.images), "deployed": in_float32(subject)}
        if not without:
            forms["deployed bf16"] = in_bf16(subject)
        errors = {form: subject.error(run()) for form, run in forms.items()}
        times = watch.turns(forms, f"{name} in PyTorch", plain=("reference",))
        for form in forms:
            dtype = torch.bfloat16 if form == "deployed bf16" else torch.float32
            yield Row(
                "infer",
                f"{name} {form}",
                times.ms(form),
                ratio=None if form == "reference" else times.ratio("reference", form),
                difference=errors[form],
                facts=subject.limits(times.ms(form), dtype),
            )
        if without:
            yield skipped("infer", f"{name} deployed bf16", without)


def in_float32(subject: Subject) -> Callable[[], Tensor]:
    """The form of the runtime ``torch``."""
    network = deployed(subject.network, subject.size, "torch")
    return inference(network, subject.images.to(memory_format=torch.channels_last))


def in_bf16(subject: Subject) -> Callable[[], Tensor]:
    """Weights and images in bf16; attention as products of matrices, as the fused one gains nothing from bf16."""
    network = in_place(deployed(subject.network, subject.size)).bfloat16().to(memory_format=torch.channels_last)
    return inference(network, subject.images.bfloat16().to(memory_format=torch.channels_last))


def no_bf16(instructions: str) -> str | None:
    """Why bf16 is not measured, from the instructions of this CPU; None if it is."""
    return None if FAST_BF16 & set(instructions.split()) else "this CPU has no bf16 instructions, it would emulate them"
