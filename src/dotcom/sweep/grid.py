"""Which jobs a sweep has: what is swept, the arms, and a name for each job and for the whole."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from dotcom.errors import UsageError, counted
from dotcom.fingerprint import digest, fingerprint

LAUNCHER_KEYS = ("slots", "retry", "status", "plan", "job_timeout")  # of the sweep itself, not of its jobs
LONGEST = 120  # characters of a folder's name, before the fingerprint


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: Of its folder in the sweep's: what is swept, in words, and the fingerprint.
        overrides: What its command line says.
        arms: Its swept settings other than the seed, such as ``co_bias=false``; runs of one arm are repetitions.
        seed: Of its configuration.
        fingerprint: Of its scientific settings.
        cpus: Processes that compute on the CPU; 0 where a GPU does.
        root: Folder of its data, if it has one.
    """

    name: str
    overrides: tuple[str, ...]
    arms: tuple[str, ...]
    seed: int
    fingerprint: str
    cpus: int = 1
    root: str | None = None


def key_of(override: str) -> str:
    """``co_bias`` of ``co_bias=true``, also of ``+co_bias=true``."""
    return override.partition("=")[0].lstrip("+~")


def check_repeated(overrides: Sequence[str]) -> None:
    """Raise UsageError if the command line sets a key twice: Hydra would take the last one without a word."""
    for key, count in Counter(map(key_of, overrides)).items():
        if count > 1:
            said = " ".join(override for override in overrides if key_of(override) == key)
            raise UsageError(f"{key}: set {count} times ({said}); expected it once, as in {key}=value,value")


Given = Mapping[str, Override]  # the overrides of a sweep by their keys


def parsed(given: Sequence[str], params: Mapping[str, Any] | None, loader: ConfigLoader | None = None) -> Given:
    """The overrides of a sweep.

    Args:
        given: Those of the command line; they win.
        params: Grid of an experiment's file.
        loader: Of Hydra, which knows what ``glob`` can find.
    """
    texts = [f"{key}={value}" for key, value in (params or {}).items()] + list(given)
    overrides = OverridesParser.create(loader).parse_overrides(texts)
    found = {override.get_key_element(): override for override in overrides}
    if wrong := next((key for key in LAUNCHER_KEYS if key in found and found[key].is_sweep_override()), None):
        raise UsageError(f"{wrong}: expected one value for the whole sweep")
    return found


def check_swept(overrides: Given) -> None:
    """Raise UsageError for what a grid has no values of: an interval, or a pattern that nothing matches."""
    for key, override in overrides.items():
        if override.is_sweep_override() and not override.is_discrete_sweep():
            raise UsageError(f"{override.input_line}: expected values, as in {key}=A,B or {key}=range(0,3)")
        if override.is_sweep_override() and not values_of(override):
            raise UsageError(f"{override.input_line}: it matches nothing; python train.py --help lists the choices")


def swept_values(overrides: Given) -> dict[str, list[str]]:
    """Swept keys and their values as text."""
    swept = {key: values_of(override) for key, override in overrides.items() if override.is_sweep_override()}
    return {
        key.lstrip("+"): [as_typed(f"{key}={value}").partition("=")[2] for value in values]
        for key, values in swept.items()
    }


def first_job(overrides: Given) -> list[str]:
    """What the command line of a job with the first value of everything that is swept says."""
    return [
        f"{key}={values[0]}" if (values := values_of(override)) else str(override.input_line)
        for key, override in overrides.items()
    ]


def values_of(override: Override) -> list[Any]:
    """The values of ``key=a,b``, ``range`` or ``glob``; none of a single one, or of an interval for other sweepers."""
    swept = override.is_sweep_override() and override.is_discrete_sweep()
    return list(override.sweep_string_iterator()) if swept else []


def sweep_name(base: dict[str, Any], swept: dict[str, list[str]]) -> str:
    """A name that says what is swept, and stays the same as long as the question is the same.

    Args:
        base: The resolved configuration of the first job.
        swept: Keys and values.
    """
    return f"{readable(swept)}__{digest([fingerprint(base), sorted(swept.items())])}"


def make_job(overrides: Sequence[str], swept: Iterable[str], config: dict[str, Any]) -> Job:
    """A job from the overrides that Hydra's sweeper gives it and the configuration that they lead to."""
    own = tuple(override for override in overrides if key_of(override) not in LAUNCHER_KEYS)
    keys = set(swept)
    varied = [as_typed(override) for override in own if key_of(override) in keys]
    mark = fingerprint(config)
    name = readable(override.replace("=", "-", 1) for override in varied) or "job"
    if len(name) >= LONGEST - 1 or re.search(r"[^\w.+=-]", "".join(varied)):  # something is not to be seen in it
        name = f"{name}-{digest(sorted(varied))}"
    arms = tuple(override for override in varied if key_of(override) != "seed")
    hardware = config["hardware"]
    devices = hardware["devices"] if isinstance(hardware["devices"], int) else 1
    cpus = devices if hardware["accelerator"] == "cpu" else 0
    return Job(f"{name}__{mark}", own, arms, config["seed"], mark, cpus, config["data"]["root"])


def as_typed(override: str) -> str:
    """``co_bias=true`` from Hydra's ``co_bias=True``."""
    key, _, value = override.lstrip("+").partition("=")
    return f"{key}={value.lower() if value in ('True', 'False') else value}"


def readable(parts: Iterable[str]) -> str:
    """Parts of a name, joined; of characters that neither a shell nor Hydra takes for something else."""
    return re.sub(r"[^\w.+]+", "-", "__".join(parts))[:LONGEST].strip("-")


def check_distinct(jobs: Sequence[Job], configs: Sequence[dict[str, Any]]) -> None:
    """Raise UsageError if two jobs would do the same."""
    seen: dict[str, Job] = {}
    for job, config in zip(jobs, configs, strict=True):
        other = seen.setdefault(digest(config), job)
        if other is not job:
            both = " and ".join(" ".join((*one.arms, f"seed={one.seed}")) for one in (other, job))
            raise UsageError(f"two jobs of the sweep are the same: {both}; expected each value once")


def describe(jobs: Sequence[Job]) -> str:
    """``2 arms x 3 seeds = 6 jobs``, or what there is if the grid has gaps."""
    arms, seeds = len({job.arms for job in jobs}), len({job.seed for job in jobs})
    times = f"{counted(arms, 'arm')} x {counted(seeds, 'seed')} = " if arms * seeds == len(jobs) else ""
    return f"{times}{counted(len(jobs), 'job')}"
