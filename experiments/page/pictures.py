"""Files of a run or a study as text that an HTML page can hold: pictures as data URIs, tables as rows."""

import base64
import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from dotcom.errors import UsageError

KINDS = {".png": "image/png", ".svg": "image/svg+xml", ".csv": "text/csv"}
OF_RUNS = {"curves.png", "predictions.png", "metrics.csv", "per_class.csv"}  # no figures, though in the same folder
WIDTHS = (2000, 1600, 1200, 1000, 800, 640, 480)  # pixels, tried from the largest
QUALITY = 78  # of WebP
ROWS = 500  # of a table that is shown


@dataclass(frozen=True)
class Figure:
    """A file on the page: a picture, or a table if there are ``rows``, the first of which is the header."""

    name: str
    uri: str
    rows: list[list[str]]

    @property
    def title(self) -> str:
        """Its name as words."""
        return Path(self.name).stem.replace("_", " ")


def figures(paths: Sequence[Path], budget: int) -> list[Figure]:
    """The files, and of folders the figures in them; pictures first.

    Args:
        paths: PNG, SVG or CSV files, or folders with some. Of a picture that is there as both only the PNG is shown.
        budget: Bytes of all PNG together.

    Raises:
        UsageError: If there is none, or one cannot be read.
    """
    files: list[Path] = []
    for path in paths:
        inside = [file for file in sorted(path.glob("[!.]*")) if file.suffix in KINDS and file.name not in OF_RUNS]
        found = inside if path.is_dir() else [path]
        if not found or any(file.suffix not in KINDS or not file.is_file() for file in found):
            raise UsageError(f"--figures {path}: expected {' '.join(KINDS)} files, or a folder with some")
        files += [file for file in found if not (file.suffix == ".svg" and file.with_suffix(".png") in found)]
    share = budget // max(1, sum(file.suffix == ".png" for file in files))
    return [read_figure(file, share) for file in sorted(files, key=lambda file: file.suffix == ".csv")]


def read_figure(path: Path, budget: int) -> Figure:
    """One file. An SVG stays an image: in one, a browser runs no script and loads nothing."""
    if path.suffix == ".png":
        return Figure(path.name, shrunk(path, budget), [])
    content = path.read_bytes()
    table = list(csv.reader(io.StringIO(content.decode(errors="replace")))) if path.suffix == ".csv" else []
    rows = [[tidy(cell) for cell in row] for row in table[: ROWS + 1]]
    return Figure(path.name, data_uri(content, KINDS[path.suffix]), rows)


def shrunk(path: Path, budget: int) -> str:
    """A picture as data URI: a WebP of at most ``budget`` bytes, as wide as fits.

    Raises:
        UsageError: If it cannot be read.
    """
    try:
        with Image.open(path) as file:
            image = file.convert("RGB")
    except OSError as error:  # UnidentifiedImageError too
        raise UsageError(f"{path}: expected a picture that can be read; write it again, or remove it") from error
    for width in WIDTHS:
        content = io.BytesIO()
        size = (min(width, image.width), max(1, round(image.height * min(1, width / image.width))))
        image.resize(size, Image.Resampling.LANCZOS).save(content, "WEBP", quality=QUALITY)
        if content.tell() <= budget:
            break
    return data_uri(content.getvalue(), "image/webp")


def data_uri(content: bytes, kind: str) -> str:
    """The content inside an address."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def tidy(cell: str) -> str:
    """A number with four significant digits; other text as it is."""
    try:
        return f"{float(cell):.4g}" if "." in cell else cell
    except ValueError:
        return cell
