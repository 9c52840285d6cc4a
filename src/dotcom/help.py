"""``python train.py --help``: the settings that one sets, with the comments that stand beside them in ``conf/``.

Nothing here imports torch.
"""

import re
import shutil
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from string import Template
from typing import Any

from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from dotcom.comments import Comments, with_bases
from dotcom.errors import CONF, SHARED, spelled

CHOSEN = ("model", "data", "optimizer", "scheduler", "hardware", "logger", "experiment")  # groups that one chooses from
DETAILS = ("data", "optimizer", "scheduler", "hardware", "trainer", "logger")  # groups whose keys one sets
HIDDEN = {  # keys that nobody sets, and why
    r"(.*\.)?(_target_|_partial_)": "what is called; a choice of a group decides",
    r"(task|model|callbacks)\..*": "follows from other keys, which are listed",
    r"hydra\.(?!run\.dir$|sweep\.dir$).*": "Hydra's own; --hydra-help is about it",
    r"pyramid|sweep|arms|output_dir": "set by the task, by the sweep, or through hydra.run.dir",
    r"trainer\.(use_distributed_sampler|enable_model_summary|plugins|default_root_dir)": "what our parts rely on",
    r"logger\.(csv|tensorboard)\..*|logger\.wandb\.(?!project$).*": "set by the run",
    r"data\.dataset\.num_classes": "follows from data.num_classes",
}
ORDER = (  # of the sections, by their first keys or their groups
    *("co_bias", "epochs", "task", "data", "optimizer", "scheduler", "precision", "hardware", "trainer", "logger"),
    *("run_name", "hydra", "slots"),
)
LINES = (60, 130)  # least and largest width
INDENT = 34  # of the comments


@dataclass(frozen=True)
class Setting:
    """One line of the help: a key, its value in words, None if only the data can tell, and what is said about it."""

    key: str
    value: str | None
    comment: str


def help_text(words: Sequence[str]) -> str:
    """What ``--help`` prints, for the choices among the words of the command line."""
    cfg = composed(words)
    choices = HydraConfig.get().runtime.choices
    text = Template(str(cfg.hydra.help.template))
    parts = {"APP_CONFIG_GROUPS": list_choices(choices), "CONFIG": list_settings(sections(cfg, choices))}
    return text.safe_substitute(parts)


def composed(words: Sequence[str]) -> DictConfig:
    """The configuration with what the command line says; of several values of a sweep, with the first one."""
    from dotcom.sweep.grid import first_job, parsed

    with initialize_config_dir(str(CONF), version_base="1.3"):
        given = first_job(parsed([word for word in words if not word.startswith("-")], None))
        cfg = compose("config", given, return_hydra_config=True)
    HydraConfig.instance().set_config(cfg)
    OmegaConf.set_readonly(cfg.hydra, False)
    raw: Any = OmegaConf.to_container(cfg.hydra, resolve=False)
    for kind in ("run", "sweep"):  # the folder of a run is called after the time
        cfg.hydra[kind].dir = re.sub(r"\$\{now:[^}]*\}", "DATE", raw[kind]["dir"])
    return cfg


def sections(cfg: DictConfig, choices: Mapping[str, Any]) -> dict[str, list[Setting]]:
    """All settings that one sets, by their headings, in the order in which they are to be read."""
    comments = comments_for(choices)
    found: dict[str, list[Setting]] = {}
    for key in visible(cfg):
        group = key.partition(".")[0]
        heading = title(group, choices[group]) if group in DETAILS else comments.sections[group]
        found.setdefault(heading, []).append(Setting(key, value_of(cfg, key), comments.of(key)))
    names = [setting[0].key.partition(".")[0] for setting in found.values()]
    order = sorted(zip(map(place_of, names), range(len(names)), found, strict=True))
    return {heading: found[heading] for _, _, heading in order}


def place_of(first: str) -> int:
    """Where a section stands that begins with this key, or with a key of this group."""
    return ORDER.index(first) if first in ORDER else ORDER.index("task")


def title(group: str, choice: str) -> str:
    """The heading above the keys of a group: what is chosen, and what its file says of itself."""
    path = CONF / group / f"{choice}.yaml"
    lines = path.read_text().splitlines() if path.exists() else []
    said = [line.removeprefix("# ") for line in takewhile(lambda line: line.startswith("#"), lines)]
    said = [line for line in said if not line.startswith("@package")]
    return f"{group}={choice}{': ' if said else ''}{' '.join(said)}"


def comments_for(choices: Mapping[str, Any]) -> Comments:
    """The comments of what was chosen; a key that has none there, such as one of ``hardware``, has another file's."""
    comments = Comments()
    comments.read(CONF / "config.yaml")
    for group in ("task", "data"):
        for path in with_bases(CONF / group / f"{choices[group]}.yaml"):
            comments.read(path, heading=f"{choices[group]}")
    for group in DETAILS[1:]:
        chosen = with_bases(CONF / group / f"{choices[group]}.yaml")
        for path in [*chosen, *sorted((CONF / group).glob("*.yaml"))]:
            comments.read(path, f"{group}.")
    return comments


def visible(cfg: DictConfig) -> list[str]:
    """The dotted keys that one sets; of two that always have one value, the one that decides."""
    raw = dict(leaves(OmegaConf.to_container(cfg, resolve=False)))
    shown = {key: value for key, value in raw.items() if not any(re.fullmatch(rule, key) for rule in HIDDEN)}
    target = {key: match[1] for key, value in shown.items() if (match := re.fullmatch(r"\$\{([\w.]+)\}", str(value)))}
    repeats = {key for key, other in target.items() if "." not in other or key.startswith("trainer.")}
    asked = {other for key, other in target.items() if key not in repeats and not other.startswith("learning_rates.")}
    return [key for key in shown if key not in repeats | asked]


def leaves(node: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and raw values; a list is a value."""
    for key, value in node.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def value_of(cfg: DictConfig, key: str) -> str | None:
    """A value as one writes it on the command line, or None where it cannot be told without the data."""
    try:
        value = OmegaConf.select(cfg, key, throw_on_missing=True)
    except OmegaConfBaseException:
        return None
    return spelled(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def list_choices(choices: Mapping[str, Any]) -> str:
    """A paragraph for each group, with what is chosen now."""
    lines = []
    for group in CHOSEN:
        known = sorted(path.stem for path in (CONF / group).glob("*.yaml"))
        words = " | ".join(choice for choice in known if choice not in SHARED.get(group, ()))
        lines += [f"  {group}={spelled(choices[group])}", textwrap.fill(words, width(), **hanging(6)), ""]
    return "\n".join(lines)


def list_settings(found: dict[str, list[Setting]]) -> str:
    """A paragraph for each heading, with a line or more for each key."""
    lines = []
    for heading, settings in found.items():
        lines += textwrap.wrap(f"# {heading}", width(), subsequent_indent="# ")
        lines += [*(line for setting in settings for line in told(setting)), ""]
    return "\n".join(lines)


def told(setting: Setting) -> list[str]:
    """The lines of one setting: key and value, then the comment, beside it if there is room."""
    start = f"  {setting.key}" if setting.value is None else f"  {setting.key}={setting.value}"
    comment = textwrap.wrap(setting.comment, width() - INDENT, break_on_hyphens=False)
    beside = comment.pop(0) if comment and len(start) < INDENT else ""
    first = [f"{start:<{INDENT - 1}} {beside}".rstrip()]
    return first + [" " * INDENT + line for line in comment]


def hanging(spaces: int) -> dict[str, Any]:
    """How a paragraph of choices is wrapped."""
    indent = " " * spaces
    return {"initial_indent": indent, "subsequent_indent": indent, "break_on_hyphens": False}


def width() -> int:
    """Of the terminal, within reason."""
    return max(LINES[0], min(LINES[1], shutil.get_terminal_size((100, 24)).columns - 1))
