"""The rows of the table: what the README says, what stands for it here, and what was found on a phone."""

import csv
from dataclasses import dataclass
from pathlib import Path

from dotcom.benchmark.published import Published, published
from dotcom.benchmark.targets import Target
from dotcom.errors import UsageError, did_you_mean

FOLDER = Path(__file__).parent
PHONE = ("model", "runtime", "ms", "device")  # columns of phone.csv


@dataclass(frozen=True)
class Entry:
    """One row.

    Args:
        key: Its name here: the choice of conf/model, with ``@224`` for DoTCoM on the smaller image.
        image_size: In pixels, at which the network was published.
        note: Where network and README differ.
        said: What the README says of it.
    """

    key: str
    image_size: int
    note: str
    said: Published

    @property
    def extra(self) -> bool:
        """Whether it is a second measurement of one of the README's rows."""
        return "@" in self.key

    @property
    def ours(self) -> bool:
        """Whether it is a DoTCoM."""
        return self.key.startswith("dotcom")

    @property
    def target(self) -> Target:
        """For the benchmark."""
        return Target(self.key, "model", self.said.model, self.image_size)


def entries(keys: tuple[str, ...] = ()) -> list[Entry]:
    """The 29 rows of the README by rising top-1, then the second measurements; or those named.

    Raises:
        UsageError: If a name is unknown.
    """
    said = {row.model: row for row in published()}
    with (FOLDER / "rows.csv").open(newline="") as file:
        found = {
            row["model"]: Entry(row["model"], int(row["image_size"]), row["note"], said[row["model"].partition("@")[0]])
            for row in csv.DictReader(file)
        }
    for key in keys:
        if key not in found:
            raise UsageError(f"{key}: no such row; expected of {','.join(found)}{did_you_mean(key, found)}")
    return [found[key] for key in keys or found]


def phone(path: Path) -> dict[tuple[str, str], dict[str, float]]:
    """What somebody measured on a phone: of (device, runtime) the milliseconds of each row; empty without a file.

    Raises:
        UsageError: If the file has other columns, an unknown row or something that is no time.
    """
    found: dict[tuple[str, str], dict[str, float]] = {}
    if not path.exists():
        return found
    known = {entry.key for entry in entries()}
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if tuple(rows.fieldnames or ()) != PHONE:
            raise UsageError(f"{path}: expected the columns {','.join(PHONE)}, got {','.join(rows.fieldnames or ())}")
        for number, row in enumerate(rows, start=2):
            if row["model"] not in known:
                raise UsageError(f"{path}:{number}: {row['model']} is no row{did_you_mean(row['model'], known)}")
            found.setdefault((row["device"], row["runtime"]), {})[row["model"]] = milliseconds(row["ms"], path, number)
    return found


def milliseconds(text: str, path: Path, number: int) -> float:
    """A time above 0."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise UsageError(f"{path}:{number}: ms={text}: expected milliseconds above 0")
    return value
