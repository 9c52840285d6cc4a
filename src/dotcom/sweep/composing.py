"""The configuration of every job of a sweep, composed and checked before anything starts.

Hydra takes a quarter of a second for one job. The jobs of a grid mostly differ in single values, such as the seed. So
jobs of equal choices are composed once. For each of them, only the values that differ are set, and only what depends on
these is resolved and checked again. Where it is not certain that the same comes out, a job is composed by itself.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, cast

from hydra import compose
from hydra.core.config_loader import ConfigLoader
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType
from omegaconf import AnyNode, DictConfig, OmegaConf, open_dict, read_write

from dotcom.config import check_varied, check_whole, resolve_checked, resolvers
from dotcom.effects import given, idle_settings
from dotcom.hints import check_task
from dotcom.world import check_sweep

Path = tuple[str, ...]  # a dotted key in parts
Checked = tuple[dict[str, Any], dict[str, str]]  # a configuration, and what of it nothing reads, as idle_settings says

UNKNOWN = "/nonexistent"  # output folder of a job as long as it has no name
KEY = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*")
INNERMOST = re.compile(r"\$\{([^${}]*)\}")
APART = ("resume", "pyramid")  # they decide about checks of other keys
OF_HYDRA = ("runtime.choices.", "runtime.output_dir", "runtime.cwd", "job.name")  # the same in jobs of equal choices
RESOLVED_BY_VALUE = ("oc.env", "oc.decode", "now", "hydra")  # beside those of ours


class UncertainError(Exception):
    """It is not certain what a configuration depends on."""


class Composer:
    """Composes and checks the jobs of a sweep.

    Args:
        loader: Of Hydra.
        master: The configuration of the whole sweep.
    """

    def __init__(self, loader: ConfigLoader, master: DictConfig) -> None:
        self.loader, self.master = loader, master
        self.parser = OverridesParser.create(loader)
        self.parsed: dict[str, Override] = {}
        self.groups = set(map(str, master.hydra.runtime.choices))
        self.bases: dict[tuple[str, ...], Composed | None] = {}  # None: each of these jobs is composed by itself
        self.defaults: dict[tuple[str, ...], DictConfig] = {}  # by the choices made

    def compose(self, jobs: Sequence[Sequence[str]]) -> None:
        """Compose one job of each combination of choices.

        Args:
            jobs: What the command line of each job says.

        Raises:
            Exception: Of Hydra, for a choice or a key that there is not.
        """
        for overrides in jobs:
            key, values = self.split(overrides)
            if key not in self.bases:
                composed = self.composed(overrides)
                self.groups |= set(composed.choices)  # a choice may bring groups of its own
                key, values = self.split(overrides)
                settings = [each.key_or_group for each in map(self.parse, overrides)]
                settings = [setting for setting in settings if setting not in self.groups]
                self.bases[key] = composed if composed.covers(values, settings) else None
            elif self.bases[key] is None:
                self.composed(overrides)

    def checked(self, overrides: Sequence[str]) -> Checked:
        """The configuration of a job, checked as the job itself will check it, and what of it nothing reads.

        Args:
            overrides: What the command line of the job says; ``compose`` has been given it.

        Raises:
            UsageError: What the job would say.
        """
        key, values = self.split(overrides)
        base = self.bases[key]
        if base is None:
            return self.first_checked(self.composed(overrides), overrides)
        if base.defaults is None:
            return self.first_checked(base, overrides)
        try:
            if base.varies():
                base.use()
                return base.vary(values)
        except Exception:  # what it is, is said by the job that is composed by itself
            pass
        self.bases[key] = None
        return self.checked(overrides)

    def composed(self, overrides: Sequence[str]) -> "Composed":
        """A job, composed by itself."""
        return Composed(self.loader.load_sweep_config(self.master, list(overrides)))

    def first_checked(self, job: "Composed", overrides: Sequence[str]) -> Checked:
        """Check all of a composed job."""
        job.resolved()  # what cannot be resolved is said first
        check_task(job.choices)
        chosen = tuple(text for text in overrides if text.partition("=")[0] in job.choices)
        if chosen not in self.defaults:
            self.defaults[chosen] = compose("config", list(chosen))
        return job.check(self.defaults[chosen], chosen)

    def split(self, overrides: Sequence[str]) -> tuple[tuple[str, ...], dict[str, Any]]:
        """What jobs that are composed together have in common, and the single values of this one by their keys."""
        common, values = [], {}
        for override in map(self.parse, overrides):
            key = override.key_or_group
            if is_single(override) and key not in self.groups:
                values[key] = override.value()
                common.append(f"{key}=")
            else:
                common.append(str(override.input_line))
        return tuple(common), values

    def parse(self, text: str) -> Override:
        """An override, which is parsed once."""
        if text not in self.parsed:
            (self.parsed[text],) = self.parser.parse_overrides([text])
        return self.parsed[text]


def is_single(override: Override) -> bool:
    """Whether an override gives a key that is there one plain value, which refers to no other key."""
    if override.type is not OverrideType.CHANGE or override.package is not None or override.is_sweep_override():
        return False
    key, value = override.key_or_group, override.value()
    parts = key.split(".")
    if not KEY.fullmatch(key) or parts[0] == "hydra" or "_target_" in parts or key in APART:
        return False
    if isinstance(value, str):
        return value != "???" and not set("$\\") & set(value)
    return value is None or isinstance(value, (bool, int, float))


class Composed:
    """A composed job, which other single values make into another job.

    Args:
        full: The composed configuration, with Hydra's own part; it is changed.

    Attributes:
        cfg: The same without that part.
        choices: What was chosen of each group.
        plain: Plain values of ``cfg``, once it has been checked.
    """

    def __init__(self, full: DictConfig) -> None:
        with read_write(full.hydra.runtime), open_dict(full.hydra.runtime):
            full.hydra.runtime.output_dir = UNKNOWN
        HydraConfig.instance().set_config(full)
        self.hydra = HydraConfig.instance().cfg
        self.choices: dict[str, Any] = {str(group): choice for group, choice in full.hydra.runtime.choices.items()}
        self.cfg = deepcopy(full)
        with open_dict(self.cfg):
            del self.cfg["hydra"]
        self.values: dict[str, Any] = {}
        self.sources: dict[Path, frozenset[str]] = {}
        self.dependent: dict[tuple[str, ...], tuple[Path, ...]] = {}
        self.deciding: dict[Path, tuple[str, ...]] = {}
        self.seen: dict[tuple[Any, ...], Any] = {}  # values that were checked, by what decides about them
        self.plain: dict[str, Any] = {}
        self.defaults: DictConfig | None = None
        self.chosen: tuple[str, ...] = ()
        self.asked: set[str] = set()

    def use(self) -> None:
        """Let ``${hydra:...}`` say what it says in this job."""
        HydraConfig.instance().cfg = self.hydra

    def resolved(self) -> dict[str, Any]:
        """Plain values, unchecked."""
        self.use()
        return cast(dict[str, Any], OmegaConf.to_container(self.cfg, resolve=True))

    def covers(self, values: Mapping[str, Any], keys: Sequence[str]) -> bool:
        """Whether other values of the same keys certainly lead to what Hydra would compose.

        Args:
            values: The single values that this job was given, by their keys; they become ``values``.
            keys: Those of all overrides but choices, on top of which they come.
        """
        self.values = dict(values)
        try:
            self.sources = dict(sources_of(OmegaConf.to_container(self.cfg, resolve=False)))
        except UncertainError:
            return False
        apart = all(sum(related(key, other) for other in keys) == 1 for key in values)
        return apart and all(is_plain_leaf(self.cfg, key) for key in values)

    def check(self, defaults: DictConfig, chosen: tuple[str, ...]) -> Checked:
        """Check the whole configuration.

        Args:
            defaults: The same choices without any ``key=value``.
            chosen: These choices.

        Raises:
            UsageError: What the job would say.
        """
        self.plain = resolve_checked(self.cfg, defaults)
        self.asked, self.chosen, self.defaults = given(self.cfg, defaults), chosen, defaults
        return self.finish()

    def varies(self) -> bool:
        """Whether ``vary`` may be called, of which ``covers`` cannot tell all before there are defaults."""
        known = self.defaults is not None and all(is_plain_leaf(self.defaults, key) for key in self.values)
        return known and not self.plain["resume"]

    def vary(self, values: Mapping[str, Any]) -> Checked:
        """Become the job of other single values, and check what has changed.

        Args:
            values: By their keys, which are those of ``covers``.

        Raises:
            UsageError: If a value is refused; the job is of no use then.
        """
        assert self.defaults is not None
        new = [key for key, value in values.items() if not same(value, self.values[key])]
        self.values |= values
        for key in new:
            OmegaConf.update(self.cfg, key, values[key], merge=True)
            self.asked.discard(key)
            if node_at(self.cfg, key) != node_at(self.defaults, key):
                self.asked.add(key)
        unseen = {}
        for path in self.touched(tuple(new)):
            mark = self.mark(path)
            if mark not in self.seen:
                unseen[path] = mark, plain_value(self.cfg, ".".join(path))
            put(self.plain, path, copied(unseen[path][1] if path in unseen else self.seen[mark]))
        if unseen:
            alone = OmegaConf.create()
            for key in (key for key in new if tuple(key.split(".")) in unseen):
                OmegaConf.update(alone, key, values[key])
            check_varied(self.cfg, self.defaults, self.plain, alone, Within(tuple(map(".".join, unseen))))
            self.seen |= dict(unseen.values())
        return self.finish()

    def finish(self) -> Checked:
        """Check what more than one value decides."""
        assert self.defaults is not None
        config = check_whole(self.cfg, self.defaults, copied(self.plain))
        check_sweep(config["hardware"])
        return config, idle_settings(self.cfg, self.defaults, config, self.chosen, self.asked)

    def touched(self, keys: tuple[str, ...]) -> tuple[Path, ...]:
        """The paths of these keys and of all that depends on them, each after what it depends on."""
        if keys not in self.dependent:
            found = {tuple(key.split(".")): frozenset[str]() for key in keys}
            while more := {
                path: sources
                for path, sources in self.sources.items()
                if path not in found and any(path in Within(tuple(sources)) for path in map(".".join, found))
            }:
                found |= more
            self.dependent[keys] = in_order(found)
        return self.dependent[keys]

    def mark(self, path: Path) -> tuple[Any, ...]:
        """What decides about the value at a path: the single values on which it depends."""
        if path not in self.deciding:
            self.deciding[path] = tuple(key for key in self.values if path in self.touched((key,)))
        values = [self.values[key] for key in self.deciding[path]]
        return (path, *values, *map(type, values))  # 1 equals true


@dataclass(frozen=True)
class Within:
    """Holds some keys, and those that stand above or below them."""

    keys: tuple[str, ...]

    def __contains__(self, key: object) -> bool:
        return any(related(str(key), other) for other in self.keys)


def in_order(sources: Mapping[Path, frozenset[str]]) -> tuple[Path, ...]:
    """Paths, each after those that it refers to.

    Raises:
        UncertainError: If some refer to each other.
    """
    left, order = dict(sources), []
    while left:
        names = {path: ".".join(path) for path in left}
        ready = [path for path in left if not any(names[o] in Within(tuple(left[path])) for o in left if o != path)]
        if not ready:
            raise UncertainError
        order += ready
        left = {path: left[path] for path in left if path not in ready}
    return tuple(order)


def related(one: str, other: str) -> bool:
    """Whether two keys are the same, or one of them stands within the other."""
    return f"{one}.".startswith(f"{other}.") or f"{other}.".startswith(f"{one}.")


def same(one: Any, other: Any) -> bool:
    """Whether two values are equal and of one type: 1 is not true."""
    return type(one) is type(other) and bool(one == other)


def node_at(cfg: DictConfig, key: str) -> Any:
    """What stands at a key, unresolved; None where there is nothing."""
    node: Any = cfg
    for part in key.split("."):
        if not isinstance(node, DictConfig) or node._is_none() or node._is_interpolation():
            return None
        node = node._get_node(part, validate_access=False)
    return node


def is_plain_leaf(cfg: DictConfig, key: str) -> bool:
    """Whether one value of any type stands at a key, not a group or a list."""
    return type(node_at(cfg, key)) is AnyNode


def sources_of(
    node: Any, path: tuple[str, ...] = (), known: bool = True
) -> Iterator[tuple[tuple[str, ...], frozenset[str]]]:
    """Each key whose value refers to others, in parts, with the keys that it refers to; a list counts as one value.

    Raises:
        UncertainError: If that cannot be told.
    """
    if isinstance(node, dict):
        for key, value in node.items():
            yield from sources_of(value, (*path, key), known and isinstance(key, str) and "." not in key)
    elif found := list(texts_with_references(node)):
        if not known:
            raise UncertainError
        yield path, frozenset(key for text in found for key in references(text))


def texts_with_references(node: Any) -> Iterator[str]:
    """The texts within a value that refer to something."""
    if isinstance(node, str) and "${" in node:
        yield node
    elif isinstance(node, (list, dict)):
        for value in node.values() if isinstance(node, dict) else node:
            yield from texts_with_references(value)


def references(text: str) -> Iterator[str]:
    """The keys to which a text such as ``${used_score:top1,${ema}}`` refers.

    Raises:
        UncertainError: If there may be others, as with relative keys, or functions that look up keys by themselves.
    """
    known = {*resolvers(), *RESOLVED_BY_VALUE}
    while match := INNERMOST.search(text):
        name, colon, argument = match[1].partition(":")
        if colon and (name not in known or (name == "hydra" and not argument.startswith(OF_HYDRA))):
            raise UncertainError
        if not colon:
            if not KEY.fullmatch(name):
                raise UncertainError
            yield name
        text = f"{text[: match.start()]}*{text[match.end() :]}"
    if "${" in text or "\\" in text:
        raise UncertainError


def plain_value(cfg: DictConfig, key: str) -> Any:
    """The resolved value at a key, as plain Python."""
    value = OmegaConf.select(cfg, key, throw_on_missing=True)
    if OmegaConf.is_config(value):
        return OmegaConf.to_container(value, resolve=True, throw_on_missing=True)
    return value


def put(plain: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set a value in nested dicts."""
    for part in path[:-1]:
        plain = plain[part]
    plain[path[-1]] = value


def copied(node: Any) -> Any:
    """Nested dicts and lists, copied."""
    if isinstance(node, dict):
        return {key: copied(value) for key, value in node.items()}
    return [copied(value) for value in node] if isinstance(node, list) else node
