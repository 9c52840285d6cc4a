"""``dotcom predict``: pictures in, one line each out, and drawings of them."""

import argparse
import os
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Union

from rich.progress import Progress

from dotcom.annotations.images import is_picture, read_picture
from dotcom.errors import UsageError, counted
from dotcom.hardware import cores
from dotcom.inference.pictures import find_pictures
from dotcom.inference.results import Boxes, Result
from dotcom.inference.saved_run import saved_run
from dotcom.record import to_json
from dotcom.text import make_console, visible

if TYPE_CHECKING:
    from dotcom.inference.predictor import Predictor, Prepared

PIPED = "dotcom-standard-input-"  # the folder with what came through it
READERS = 4  # threads; each may hold a picture of 450 MB

Outcome = tuple[Path, Union["Prepared", UsageError], Result | None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Spell the command line."""
    parser.add_argument("ckpt", type=Path, metavar="CKPT", help="best.ckpt or last.ckpt of a run")
    parser.add_argument(
        "paths",
        type=Path,
        nargs="+",
        metavar="PATH",
        help="a picture, a folder with some, a quoted pattern, or -: a picture or paths from standard input",
    )
    parser.add_argument("--out", type=Path, metavar="DIR", help="write drawings, masks and predictions.jsonl there")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of text")
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="pictures at a time (default: 16)")
    parser.add_argument("--device", choices=("auto", "cpu", "cuda", "mps"), default="auto")
    parser.add_argument("--threshold", type=float, default=0.3, metavar="S", help="least score of a box (default: 0.3)")


def run(arguments: argparse.Namespace) -> int:
    """Predict; 1 if some pictures could not be read, which are named at the end."""
    check(arguments)
    with TemporaryDirectory(prefix=PIPED) as folder:
        given = [path for word in arguments.paths for path in (piped(Path(folder)) if str(word) == "-" else [word])]
        return predict(arguments, find_pictures(given, without=arguments.out))


def shown(path: Path) -> str:
    """What a picture is called: ``-`` if it came through standard input."""
    return "-" if path.parent.name.startswith(PIPED) else str(path)


def predict(arguments: argparse.Namespace, paths: Sequence[Path]) -> int:
    """Predict these pictures; returns as ``run`` does."""
    saved_run(arguments.ckpt)  # a mistake is answered here, before torch is imported
    from dotcom.inference.folder import prediction_folder
    from dotcom.inference.predictor import Predictor

    predictor = Predictor(arguments.ckpt, arguments.device)
    kept = prediction_folder(arguments.out, paths, predictor.classes) if arguments.out else nullcontext()
    failed = []
    with kept as folder, progress() as bar:
        outcomes = predictions(predictor, paths, arguments.batch_size)
        for path, seen, result in bar.track(outcomes, len(paths), description="predicting"):
            if isinstance(seen, UsageError) or result is None:
                failed.append(seen)
                continue
            result = result.above(arguments.threshold) if isinstance(result, Boxes) else result
            row = {"path": shown(path), "width": seen.size[1], "height": seen.size[0], **result.plain()}
            row = row if folder is None else folder.add(path, row, result)
            print(to_json(row) if arguments.json else visible(f"{shown(path)}: {result.line()}"), flush=True)
    if failed:
        print(f"{len(failed)} of {counted(len(paths), 'picture')} could not be read:", file=sys.stderr)
        print(*(f"  {visible(error)}" for error in failed), sep="\n", file=sys.stderr)
    return 1 if failed else 0


def check(arguments: argparse.Namespace) -> None:
    """Raise UsageError for an option out of range."""
    if arguments.batch_size < 1:
        raise UsageError(f"--batch-size={arguments.batch_size}: expected a whole number above 0")
    if not 0 <= arguments.threshold <= 1:
        raise UsageError(f"--threshold={arguments.threshold}: expected a number from 0 to 1")
    if arguments.out and arguments.out.exists() and not arguments.out.is_dir():
        raise UsageError(f"--out={arguments.out}: a file; expected a folder")


def piped(folder: Path) -> list[Path]:
    """What comes through standard input: the bytes of one picture, or paths, one a line.

    Args:
        folder: Where such a picture is put.

    Raises:
        UsageError: If it is neither.
    """
    if sys.stdin.isatty():
        raise UsageError("-: expected a picture or paths on standard input, as in find . -name '*.jpg' | dotcom ...")
    content = sys.stdin.buffer.read()
    if is_picture(content):
        file = folder / "standard_input"
        file.write_bytes(content)
        return [file]
    if b"\0" in content or not content.strip():
        raise UsageError(f"-: neither a picture nor paths, one a line, but {len(content)} other bytes")
    return [Path(os.fsdecode(line)) for line in content.splitlines() if line]


def predictions(predictor: "Predictor", paths: Sequence[Path], batch_size: int) -> Iterator[Outcome]:
    """Each path with what was seen of it and its result, or with why it could not be read; in their order.

    While the network works on a batch, threads read the next one.
    """

    def prepared(path: Path) -> "Prepared | UsageError":
        try:
            return predictor.prepare(read_picture(path, shown(path)))
        except UsageError as error:
            return error

    batches = [paths[start : start + batch_size] for start in range(0, len(paths), batch_size)]
    with ThreadPoolExecutor(min(READERS, cores())) as pool:
        reading = pool.map(prepared, batches[0])
        for batch, following in zip(batches, [*batches[1:], []], strict=True):
            seen, reading = list(reading), pool.map(prepared, following)
            results = iter(predictor.predict([item for item in seen if not isinstance(item, UsageError)]))
            for path, item in zip(batch, seen, strict=True):
                yield path, item, None if isinstance(item, UsageError) else next(results)


def progress() -> Progress:
    """A bar on stderr; none where lines on the same screen already tell how far it is."""
    console = make_console(stderr=True)
    disable = sys.stdout.isatty() or not console.is_terminal
    return Progress(console=console, transient=True, disable=disable, redirect_stdout=False, redirect_stderr=False)
