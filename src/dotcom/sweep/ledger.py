"""``sweep.json``: what became of every job, so that a sweep that was killed can go on."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from dotcom.record import DamagedRecordError, known_of_run, now, read_json, write_json
from dotcom.sweep.grid import Job
from dotcom.text import say

STATES = ("pending", "running", "done", "failed", "preempted")


class Ledger:
    """The states of the jobs in a sweep's folder; written whole after each change.

    Jobs of an earlier grid in the same folder are kept: more seeds or arms may be added to a sweep.

    Args:
        folder: Of the sweep.
        jobs: Of the grid as it was asked for now.
        swept: Keys and values of that grid.
        command: What was typed.
    """

    def __init__(self, folder: Path, jobs: Sequence[Job], swept: dict[str, list[str]], command: list[str]) -> None:
        self.folder = folder
        self.path = folder / "sweep.json"
        self.damaged = False
        before = self._earlier()
        known = {name: entry for name, entry in before.get("jobs", {}).items() if is_entry(entry)}
        new = {job.name: known.get(job.name) or blank(job) for job in jobs}
        merged = {key: list(dict.fromkeys([*before.get("swept", {}).get(key, []), *swept[key]])) for key in swept}
        self.content: dict[str, Any] = {
            "version": 1,
            "name": folder.name,
            "command": command,
            "created": before.get("created") or now(),
            "swept": merged,
            "jobs": known | new,
        }

    def _earlier(self) -> dict[str, Any]:
        """What the file says; if it is damaged, what the jobs' own files say."""
        try:
            content = read_json(self.path)
            whole = [*content.get("jobs", {}).values()], [*content.get("swept", {}).values()]
            if not all(map(is_entry, whole[0])) or not all(isinstance(values, list) for values in whole[1]):
                raise DamagedRecordError(f"{self.path}: damaged; expected what a sweep has written")
        except (DamagedRecordError, AttributeError) as error:
            self.damaged = True
            reason = error if isinstance(error, DamagedRecordError) else f"{self.path}: damaged"
            say(f"warning: {reason}; the states are taken from the jobs' own run.json, and no result is lost")
            return {"jobs": dict(self._of_jobs())}
        return content

    def _of_jobs(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """An entry for each job that has left its own record."""
        for path in sorted(self.folder.glob("*/run.json")):
            record, name = known_of_run(path.parent), path.parent.name
            if "overrides" in record:
                own = {key: record.get(key) for key in ("overrides", "arms", "seed", "fingerprint")}
                state = record.get("state") if record.get("state") in STATES else "preempted"
                result = {"state": state, "end": record.get("ended"), "score": record.get("score")}
                yield name, own | unstarted(name) | result

    @property
    def jobs(self) -> dict[str, dict[str, Any]]:
        """What is known of each job, by its name."""
        jobs: dict[str, dict[str, Any]] = self.content["jobs"]
        return jobs

    def set(self, name: str, **facts: Any) -> None:
        """Note facts about a job, on the disk too."""
        self.jobs[name] |= facts
        self.save()

    def save(self) -> None:
        """Write all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.damaged:
            self.path.replace(self.path.with_name("sweep.json.damaged"))
            self.damaged = False
        write_json(self.path, self.content)

    def recover(self, names: Sequence[str]) -> None:
        """Correct what a killed sweep left: jobs it took for running, and jobs that ended after it had died.

        To be called by whoever holds the folder's lock.
        """
        for name in names:
            entry, record = self.jobs[name], known_of_run(self.folder / name)
            if record.get("state") == "done":
                code = {"state": "done", "exit_code": 0, "reason": None}
                entry |= code | {"end": entry["end"] or record.get("ended"), "score": record.get("score")}
            elif entry["state"] == "running":
                entry |= {"state": "preempted", "reason": "its sweep was killed"}
            elif entry["state"] == "done":  # its folder was removed, or its record is damaged
                entry |= blank_states()

    def to_run(self, names: Sequence[str], retry: bool) -> list[str]:
        """The jobs to be started, in order: those without a result, failed ones only on request."""
        wanted = {"pending", "preempted"} | ({"failed"} if retry else set())
        return [name for name in names if self.jobs[name]["state"] in wanted]


def blank(job: Job) -> dict[str, Any]:
    """The entry of a job that has not been started."""
    own = {"overrides": list(job.overrides), "arms": list(job.arms), "seed": job.seed, "fingerprint": job.fingerprint}
    return own | unstarted(job.name)


def unstarted(name: str) -> dict[str, Any]:
    """What an entry says of a job that has not run."""
    return blank_states() | {"log": f"{name}/log.txt", "command": None, "start": None, "attempts": 0}


def is_entry(entry: Any) -> bool:
    """Whether something is what a sweep has noted of a job."""
    needed = {"overrides", "arms", "seed", "state", "end", "score", "reason", "log", "attempts"}
    if not isinstance(entry, dict) or not needed <= set(entry) or entry["state"] not in STATES:
        return False
    kinds = {"overrides": list, "arms": list, "log": str, "attempts": int}
    number = entry["score"] is None or isinstance(entry["score"], (int, float))
    return number and all(isinstance(entry[key], kind) for key, kind in kinds.items())


def blank_states() -> dict[str, Any]:
    """What is known of a job before it runs."""
    return {"state": "pending", "end": None, "exit_code": None, "score": None, "reason": None}
