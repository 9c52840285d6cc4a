"""Predictions as files: drawings, masks of class indices, and one JSON line per picture."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from PIL import Image

from dotcom.annotations.images import read_picture
from dotcom.inference.drawing import draw
from dotcom.inference.results import Mask, Result
from dotcom.record import to_json, whole
from dotcom.text import visible


class PredictionFolder:
    """Writes ``drawings/``, ``masks/``, ``classes.txt`` and ``predictions.jsonl``; the last appears once all is done.

    Below the first two, files stand as the pictures do below the folder that holds all of them, and keep their whole
    name: ``a/1.jpg`` becomes ``drawings/a/1.jpg.jpg`` and ``masks/a/1.jpg.png``. So no two have one name.

    Args:
        folder: Made if it is not there.
        paths: All pictures that may come.
        classes: Names, in the order of the labels: line n of ``classes.txt``, from 0 on, is value n of a mask.
    """

    def __init__(self, folder: Path, paths: Sequence[Path], classes: Sequence[str], lines: IO[str]) -> None:
        self.folder, self.classes, self.lines = folder, classes, lines
        self.base = os.path.commonpath([path.absolute().parent for path in paths])

    def add(self, path: Path, row: dict[str, Any], result: Result) -> dict[str, Any]:
        """Write what belongs to one picture; returns its row with ``drawing`` and ``mask``, relative to the folder."""
        name = os.path.relpath(path.absolute(), self.base)
        row = {**row, "drawing": f"drawings/{name}.jpg"}
        self._save(row["drawing"], draw(read_picture(path), result, self.classes), "JPEG", quality=92)
        if isinstance(result, Mask):
            row["mask"] = f"masks/{name}.png"
            self._save(row["mask"], Image.fromarray(result.classes), "PNG")
        self.lines.write(to_json(row) + "\n")
        return row

    def _save(self, name: str, picture: Image.Image, kind: str, **options: int) -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole(path) as temporary:
            picture.save(temporary, kind, **options)


@contextmanager
def prediction_folder(folder: Path, paths: Sequence[Path], classes: Sequence[str]) -> Iterator[PredictionFolder]:
    """A ``PredictionFolder`` whose list of predictions is written whole."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "classes.txt").write_text("".join(f"{visible(name)}\n" for name in classes), encoding="utf-8")
    with whole(folder / "predictions.jsonl") as temporary, temporary.open("w") as lines:
        yield PredictionFolder(folder, paths, classes, lines)
