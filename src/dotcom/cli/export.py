"""``dotcom export``: files for runtimes, each of them run and compared with the checkpoint's network."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from dotcom.deploy import formats
from dotcom.errors import UsageError, counted, did_you_mean, flat
from dotcom.inference.other_data import data_config
from dotcom.inference.saved_run import SavedRun, saved_run
from dotcom.text import say

if TYPE_CHECKING:
    from dotcom.deploy.export import Source

MULTIPLE = 32  # of an image's side
IMAGES, IMAGES_INT8 = 64, 256  # one point of accuracy is to be seen


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""
    parser.add_argument("ckpt", type=Path, metavar="CKPT", help="best.ckpt or last.ckpt of a run")
    parser.add_argument("--to", required=True, metavar="FORMATS", help=f"some of {','.join(formats.FORMATS)}")
    parser.add_argument("--int8", action="store_true", help="quantised, at most a point less accurate, or no file")
    parser.add_argument("--size", metavar="N", help="side of the square input, in pixels (default: as in training)")
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to (default: the folder export beside CKPT)")
    parser.add_argument(
        "--images", metavar="N", help=f"validation images to check each file on (default: {IMAGES}; int8 {IMAGES_INT8})"
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        default=[],
        metavar="data.KEY=VALUE",
        help="such as data.root=PATH; or data=CHOICE, another set",
    )


def run(arguments: argparse.Namespace) -> int:
    """Write the formats in turn; 1 if one of them failed, which does not keep the others from being written."""
    names = chosen(arguments.to)
    saved = saved_run(arguments.ckpt)
    size, images = numbers(arguments, saved)
    ready(names, arguments.int8)
    if "timm" in names:
        formats.module("timm").suits(saved)
    data = data_config(saved, arguments.overrides)
    folder = writable(arguments.out or arguments.ckpt.parent / "export")
    from dotcom.deploy.export import Source

    source = Source(saved, data, size, images, arguments.int8)
    say(f"{arguments.ckpt}: {saved.task}, {size}x{size} pixels, to {folder}")
    failed = [name for name in names if not written(name, source, folder)]
    if failed:
        print(f"{len(failed)} of {counted(len(names), 'format')} failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def written(name: str, source: "Source", folder: Path) -> bool:
    """Export one format and say how it went."""
    from dotcom.deploy.export import RejectedError, export

    if sys.stderr.isatty():
        say(f"{name}: writing; this may take a minute", sys.stderr)
    try:
        done = export(name, source, folder)
    except RejectedError as error:
        for line in str(error).splitlines():
            say(f"{name}: deleted, because the file {line}", sys.stderr)
        return False
    except UsageError as error:
        say(f"{name}: {error}", sys.stderr)
        return False
    except Exception as error:  # of somebody else's converter; the other formats go on
        say(f"{name}: {type(error).__name__}: {flat(str(error))[:300]}", sys.stderr)
        return False
    said = done.fidelity.line() if done.fidelity else f"not run here: {done.why}"
    say(f"{name}: {done.path.name}, {formats.size(done.path) / 1e6:.1f} MB; {said}")
    return True


def chosen(words: str) -> list[str]:
    """The formats of ``--to``, in order, each once."""
    names = [word.strip() for word in words.split(",") if word.strip()]
    for name in names:
        if name not in formats.FORMATS:
            known = ", ".join(formats.FORMATS)
            raise UsageError(f"--to {name}: expected some of {known}{did_you_mean(name, formats.FORMATS)}")
    if not names:
        raise UsageError(f"--to: expected some of {', '.join(formats.FORMATS)}, separated by commas")
    return list(dict.fromkeys(names))


def numbers(arguments: argparse.Namespace, saved: SavedRun) -> tuple[int, int]:
    """Size and number of images, from the options or their defaults."""
    transform = saved.config["data"]["val_transform"]
    default = transform.get("image_size", saved.config["image_size"])
    size = number("--size", arguments.size or default)
    if size % MULTIPLE:
        near = max(MULTIPLE, MULTIPLE * round(size / MULTIPLE))
        raise UsageError(f"--size={size}: expected a multiple of {MULTIPLE}, such as {near}")
    return size, number("--images", arguments.images or (IMAGES_INT8 if arguments.int8 else IMAGES))


def number(option: str, value: object) -> int:
    """A whole number above 0."""
    text = str(value)
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise UsageError(f"{option}={text}: expected a whole number above 0")
    return int(text)


def ready(names: Sequence[str], int8: bool) -> None:
    """Raise UsageError, with the command to install it, for the first format that lacks something."""
    for name in names:
        module = formats.module(name)
        if int8:
            from dotcom.deploy import int8 as quantisation

            quantisation.require(name)
        formats.require(f"--to {name}", module.MODULES, module.EXTRA)


def writable(folder: Path) -> Path:
    """The folder, made if need be.

    Raises:
        UsageError: If nothing can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"--out={folder}: {error.strerror}") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise UsageError(f"--out={folder}: no permission to write there")
    return folder
