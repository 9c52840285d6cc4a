"""What a run leaves for programs: ``run.json``, from its first seconds on. Nothing here imports torch."""

import hashlib
import json
import math
import platform
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from dotcom.errors import CONF, UsageError
from dotcom.fingerprint import fingerprint
from dotcom.text import say
from dotcom.world import is_first

LARGEST = 2**28  # bytes of a JSON file that a run or a sweep writes
NUMBER = ((int, float), "number")
KINDS: dict[str, tuple[Any, str]] = {  # of the facts in run.json, with what they are called
    **dict.fromkeys(("minutes", "attempt", "seed", "score", "parameters", "macs", "images_per_second"), NUMBER),
    **dict.fromkeys(("state", "started", "ended", "name", "fingerprint", "monitor", "commit"), (str, "text")),
    **dict.fromkeys(("config", "choices", "versions", "scores"), (dict, "object")),
    **dict.fromkeys(("overrides", "arms"), (list, "list")),
}


def now() -> str:
    """The time in UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Where to write what becomes the file in the end: after a crash there is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp")  # one that a kill has left is written over
    try:
        yield temporary
        temporary.replace(path)
    except OSError as error:
        if error.filename or not error.errno:
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk: say which file it is about
    finally:
        temporary.unlink(missing_ok=True)


def hash_of(path: Path) -> str:
    """SHA-256 in hexadecimal, of a file, or of all files in a folder with their names."""
    digest = hashlib.sha256()
    for file in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file.is_file():
            if path.is_dir():
                digest.update(file.relative_to(path).as_posix().encode())
            with file.open("rb") as content:
                while block := content.read(2**20):
                    digest.update(block)
    return digest.hexdigest()


def write_json(path: Path, content: Any) -> None:
    """Write a JSON file whole; ``to_json`` makes its content."""
    with whole(path) as temporary:
        temporary.write_text(to_json(content, indent=1))


def to_json(content: Any, **options: Any) -> str:
    """Plain values as JSON, in which NaN and infinity, which JSON does not have, are null."""
    return json.dumps(finite(content), allow_nan=False, **options)


def finite(content: Any) -> Any:
    """Plain values, with None in place of NaN and infinity."""
    if isinstance(content, float):
        return content if math.isfinite(content) else None
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    return [finite(value) for value in content] if isinstance(content, (list, tuple)) else content


class DamagedRecordError(UsageError):
    """A file that a run or a sweep has written is not what was written; the message says how."""


def read_json(path: Path) -> dict[str, Any]:
    """The content of a file; empty if there is none.

    Raises:
        DamagedRecordError: If it cannot be read, or is no JSON object.
    """
    expected = "expected what a run or a sweep has written"
    try:
        if path.exists() and not path.is_file():
            raise DamagedRecordError(f"{path}: not a file; {expected}")
        if path.exists() and path.stat().st_size > LARGEST:
            raise DamagedRecordError(f"{path}: {path.stat().st_size:,} bytes are too many; {expected}")
        text = path.read_text(encoding="utf-8")
        content = json.loads(text)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise DamagedRecordError(f"{path}: {error.strerror}; {expected}") from None
    except UnicodeDecodeError:
        raise DamagedRecordError(f"{path}: damaged, not UTF-8; {expected}") from None
    except (ValueError, RecursionError):
        what = "not JSON, or cut off" if text.strip() else "empty"
        raise DamagedRecordError(f"{path}: damaged, {what}; {expected}") from None
    if not isinstance(content, dict):
        raise DamagedRecordError(f"{path}: damaged, not a JSON object; {expected}")
    return content


def read_run(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run; empty if there is none.

    Raises:
        DamagedRecordError: If it cannot be read, or a fact is not of the kind that was written.
    """
    path = folder / "run.json"
    content = read_json(path)
    for key, (kind, expected) in KINDS.items():
        value = content.get(key)
        if value is not None and (not isinstance(value, kind) or isinstance(value, bool)):
            raise DamagedRecordError(f"{path}: damaged, {key} is no {expected}; expected what a run has written")
    data = content.get("config", {}).get("data", {})
    if not isinstance(data, dict):
        raise DamagedRecordError(f"{path}: damaged, config.data is no object; expected what a run has written")
    return content


def known_of_run(folder: Path) -> dict[str, Any]:
    """``run.json`` of a run, for those who can do without it: empty if there is none, or a damaged one."""
    try:
        return read_run(folder)
    except DamagedRecordError:
        return {}


def read_progress(folder: Path) -> dict[str, float]:
    """``progress.json`` of a run: only for display, so that what cannot be read is left out."""
    try:
        content = read_json(folder / "progress.json")
    except DamagedRecordError:
        return {}
    return {key: value for key, value in content.items() if type(value) in (int, float)}


def curves(rows: Iterable[Mapping[str, str]]) -> dict[str, list[tuple[int, float]]]:
    """From the rows of a metrics.csv, the (training step, value) pairs of each name."""
    series: dict[str, list[tuple[int, float]]] = {}
    for row in rows:
        for name, value in row.items():
            if value and name not in ("step", "epoch"):
                series.setdefault(name, []).append((int(row["step"]), float(value)))
    return series


class Record:
    """``run.json`` of a run: what was asked, with what, and in the end what came out.

    Args:
        folder: Of the run. A record that is there already, of an interrupted run, is continued.
        config: The resolved configuration, as plain values.
        choices: Which file was chosen in each group.
        overrides: What the command line said.
    """

    def __init__(self, folder: str, config: dict[str, Any], choices: dict[str, str], overrides: list[str]) -> None:
        self.path = Path(folder) / "run.json"
        before = self._earlier()
        self.before = float(before.get("minutes", 0)) + lost_minutes(Path(folder), before)
        self.started = time.time()
        self.content: dict[str, Any] = {
            "version": 1,
            "name": config["run_name"],
            "fingerprint": fingerprint(config),
            "config": config,
            "choices": choices,
            "overrides": overrides,
            **{key: config[key] for key in ("sweep", "arms", "seed", "monitor")},
            "commit": commit(),
            "versions": versions(),
            **({"smoke": True} if config["smoke"] else {}),  # a trial, no result
            "state": "running",
            "started": before.get("started") or now(),
            "attempt": self.started,
            "ended": None,
        }
        self.content |= {key: before.get(key) for key in ("parameters", "macs", "images_per_second", "score", "scores")}

    def _earlier(self) -> dict[str, Any]:
        """The record of an interrupted run, which goes on without it, too."""
        try:
            return read_run(self.path.parent)
        except DamagedRecordError as error:
            if is_first():
                say(f"warning: {error}; it is written anew, and its minutes count from now; nothing else is lost")
            return {}

    @property
    def minutes(self) -> float:
        """How long the run has taken so far, over every attempt at it."""
        return self.before + (time.time() - self.started) / 60

    def update(self, **facts: Any) -> None:
        """Add facts, and write all of it, with the minutes so far."""
        self.content |= {"minutes": self.minutes} | facts
        if is_first():
            write_json(self.path, self.content)

    def end(self, state: str, **facts: Any) -> None:
        """Write how it ended: done, failed or preempted."""
        self.update(state=state, ended=now(), **facts)


def lost_minutes(folder: Path, before: dict[str, Any]) -> float:
    """How long an attempt ran that was killed before it could say so."""
    seen = read_progress(folder).get("updated", 0.0)
    return max(0.0, seen - before["attempt"]) / 60 if before.get("state") == "running" and "attempt" in before else 0.0


def commit() -> str | None:
    """The commit of the code, with a plus sign if files differ from it; None outside a repository."""
    git = ["git", "-C", str(CONF.parent)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=10", "HEAD"], capture_output=True, text=True, check=True)
        changed = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + ("+" if changed.stdout.strip() else "")


def versions() -> dict[str, str]:
    """Of Python and the packages that decide about numbers."""
    packages = ("dotcom", "torch", "torchvision", "lightning")
    return {"python": platform.python_version()} | {name: metadata.version(name) for name in packages}
