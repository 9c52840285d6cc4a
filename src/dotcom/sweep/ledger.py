"""``sweep.json``: what became of every job, so that a sweep that was killed can go on."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dotcom.record import now, read_json, write_json
from dotcom.sweep.grid import Job

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
        before = read_json(self.path)
        known = before.get("jobs", {})
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
        write_json(self.path, self.content)

    def recover(self, names: Sequence[str]) -> None:
        """Correct what a killed sweep left: jobs it took for running, and jobs that ended after it had died.

        To be called by whoever holds the folder's lock.
        """
        for name in names:
            entry, record = self.jobs[name], read_json(self.folder / name / "run.json")
            if record.get("state") == "done":
                code = {"state": "done", "exit_code": 0, "reason": None}
                entry |= code | {"end": entry["end"] or record["ended"], "score": record["score"]}
            elif entry["state"] == "running":
                entry |= {"state": "preempted", "reason": "its sweep was killed"}
            elif entry["state"] == "done":  # its folder was removed
                entry |= blank_states()

    def to_run(self, names: Sequence[str], retry: bool) -> list[str]:
        """The jobs to be started, in order: those without a result, failed ones only on request."""
        wanted = {"pending", "preempted"} | ({"failed"} if retry else set())
        return [name for name in names if self.jobs[name]["state"] in wanted]


def blank(job: Job) -> dict[str, Any]:
    """The entry of a job that has not been started."""
    own = {"overrides": list(job.overrides), "arms": list(job.arms), "seed": job.seed, "fingerprint": job.fingerprint}
    return own | blank_states() | {"log": f"{job.name}/log.txt", "command": None, "start": None, "attempts": 0}


def blank_states() -> dict[str, Any]:
    """What is known of a job before it runs."""
    return {"state": "pending", "end": None, "exit_code": None, "score": None, "reason": None}
