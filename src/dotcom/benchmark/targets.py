"""What the command is asked to measure, checked before torch is imported."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dotcom.deploy import formats
from dotcom.errors import CONF, SHARED, UsageError, did_you_mean, listed
from dotcom.foreign import brief, parse_json, read_foreign
from dotcom.hardware import cores
from dotcom.inference.saved_run import saved_run

SIZES = ("dotcom_tiny", "dotcom_small", "dotcom_base", "dotcom_large")
RUNTIMES = ("torch", "onnx", "executorch", "openvino", "litert")
BASES = (*SHARED["model"], "timm")  # of conf/model; no networks by themselves


@dataclass(frozen=True)
class Target:
    """One thing to measure.

    Args:
        name: On the table.
        kind: A choice of conf/model, a checkpoint of a run, or a file for a runtime.
        source: The choice or the path.
        image_size: That it asks for by itself, in pixels: of a checkpoint that of its run, of a file that of its card.
    """

    name: str
    kind: Literal["model", "checkpoint", "file"]
    source: str
    image_size: int | None = None


def known_models() -> list[str]:
    """The choices of conf/model that are networks, the sizes of DoTCoM first."""
    found = sorted(file.stem for file in (CONF / "model").glob("*.yaml") if file.stem not in BASES)
    return [*SIZES, *(name for name in found if name not in SIZES)]


def targets(words: Sequence[str]) -> list[Target]:
    """What the words name; the four sizes if there are none.

    Raises:
        UsageError: If a word is neither a model nor a readable file, or two mean the same row.
    """
    found = [target(word) for word in words or SIZES]
    names = [one.name for one in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{twice}: named twice; each row can stand once on the table")
    return found


def target(word: str) -> Target:
    """A choice of conf/model, else a path: what looks like neither is answered as a mistyped model."""
    if word in known_models():
        return Target(word, "model", word)
    path = Path(word).expanduser()
    if not path.exists():
        if path.suffix or "/" in word:
            raise UsageError(f"{word}: no such file; expected a checkpoint, an exported file, or a model's name")
        hint = did_you_mean(word, known_models()) or f"; expected a file, or one of {listed(known_models(), 40)}"
        raise UsageError(f"{word}: no such model{hint}")
    if path.suffix == ".ckpt":
        return Target("/".join(path.parts[-2:]), "checkpoint", str(path), saved_run(path).config["image_size"])
    formats.of_file(path)
    return Target(path.name, "file", str(path), size_on(card_of(path)))


def card_of(path: Path) -> dict[str, Any]:
    """What the JSON file beside an exported one says; empty if there is none.

    Raises:
        UsageError: If it is damaged, or a value that is read of it has another type than we write.
    """
    file = card_path(path)
    if not os.path.lexists(file):
        return {}
    expected = f"expected the card of {path.name}, as dotcom export writes it; remove it to measure without"
    card = parse_json(read_foreign(file), str(file), expected)
    if not isinstance(card, dict):
        raise UsageError(f"{file}: {brief(card)}; {expected}")
    for key, fits in READ.items():
        if card.get(key) is not None and not fits(card[key]):
            raise UsageError(f"{file}: {key} is {brief(card[key])}; {expected}")
    return card


def size_on(card: dict[str, Any]) -> int | None:
    """Side of the image in pixels, from our card or that of ``dotcom export``."""
    inputs = card.get("inputs") or [{"shape": [None]}]
    size: int | None = card.get("image_size") or inputs[0]["shape"][-1]
    return size


def is_natural(value: Any) -> bool:
    """Whether a value of a card is a number of something, or 0."""
    return type(value) is int and 0 <= value < 2**63


def is_count(value: Any) -> bool:
    """Whether a value of a card is a number of something."""
    return is_natural(value) and value > 0


def are_inputs(value: Any) -> bool:
    """Whether a value of a card lists inputs with their shapes, of which the last number is that of pixels."""
    first = value[0] if isinstance(value, list) and value else None
    shape = first.get("shape") if isinstance(first, dict) else None
    return isinstance(shape, list) and bool(shape) and is_count(shape[-1])


READ: dict[str, Callable[[Any], bool]] = {  # of a card, and what it has to be, unless null
    "image_size": is_count,
    "inputs": are_inputs,
    "name": lambda value: isinstance(value, str),
    "parameters": is_count,
    "deployed_parameters": is_count,
    "macs": lambda value: all(map(is_natural, value.values() if isinstance(value, dict) else [value])),
}


def card_path(path: Path) -> Path:
    """``net.onnx.json`` beside ``net.onnx``."""
    return path.with_name(f"{path.name}.json")


def runtimes(text: str) -> tuple[str, ...]:
    """``torch,onnx`` apart, in that order.

    Raises:
        UsageError: If one is unknown.
    """
    names = tuple(filter(None, text.split(",")))
    for name in names or ("",):
        if name not in RUNTIMES:
            raise UsageError(f"--runtimes {text}: expected of {','.join(RUNTIMES)}{did_you_mean(name, RUNTIMES)}")
    return tuple(dict.fromkeys(names))


def runnable(wanted: Sequence[Target], asked: Sequence[str]) -> tuple[list[Target], list[str], list[str]]:
    """What this machine can measure of what was asked for.

    Returns:
        The targets, the runtimes for networks among them, and a line for each runtime that lacks something.
    """
    networks = any(target.kind != "file" for target in wanted)
    lacking = {runtime: lack for runtime in asked if networks and (lack := what_lacks(runtime, write=True))}
    usable = [runtime for runtime in asked if runtime not in lacking]
    kept = []
    for target in wanted:
        runtime = formats.of_file(Path(target.source)) if target.kind == "file" else None
        if runtime and (lack := what_lacks(runtime, write=False)):
            lacking[target.name] = lack
        elif runtime or usable:
            kept.append(target)
    return kept, usable, [f"{name} is left out: {lack}" for name, lack in lacking.items()]


def what_lacks(runtime: str, write: bool) -> str | None:
    """Why a runtime cannot be used here, with the command that installs it; None if it can."""
    form = formats.module(runtime)
    for modules, extra in ((form.MODULES if write else (), form.EXTRA), (form.RUNTIME, runtime_extra(runtime))):
        if gone := formats.absent(modules):
            return f"{', '.join(gone)} not installed; pip install 'dotcom[{extra}]'"
    return formats.unrunnable(runtime)


def runtime_extra(runtime: str) -> str:
    """The extra that brings what runs a file; LiteRT's is much smaller than what writes one."""
    return "litert-runtime" if runtime == "litert" else str(formats.module(runtime).EXTRA)


def thread_counts(text: str) -> tuple[int, ...]:
    """``1,2`` as numbers.

    Raises:
        UsageError: If one is no number from 1 to the number of cores.
    """
    words = text.split(",")
    if not all(word.isdecimal() and 1 <= int(word) <= cores() for word in words):
        raise UsageError(f"--threads {text}: expected numbers from 1 to {cores()}, the cores here, such as 1 or 1,2")
    return tuple(dict.fromkeys(map(int, words)))


def positive(option: str, value: int, step: int = 1) -> int:
    """A number above 0, a multiple of ``step``.

    Raises:
        UsageError: If it is none.
    """
    if value < 1 or value % step:
        raise UsageError(f"{option} {value}: expected {'a number' if step == 1 else f'a multiple of {step}'} above 0")
    return value
