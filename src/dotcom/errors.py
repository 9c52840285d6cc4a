"""Mistakes of the user, answered in one line instead of a traceback."""

import argparse
import difflib
import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dotcom.pipes import reader_may_leave
from dotcom.signals import tidy_stops
from dotcom.text import say, visible

CONF = Path(__file__).parents[2] / "conf"
SHARED = {
    "model": ("dotcom", "edgevit", "fat"),
    "data": ("images", "boxes", "masks"),
}  # files that others build on; no choices by themselves


LONGEST = 3000  # characters of an error
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # no room on the disk, in the quota, or for a file of that size
LOST = "lost contact with another process of this run"
GO_ON = "see its own last lines, then go on with the same command and resume=true"


class UsageError(ValueError):
    """Bad input; the message names the key, file or value, what was expected, and what to do.

    It is one line, whatever stands in the values that it shows: control characters are escapes, and of a line that is
    far too long the beginning and the end are kept.
    """

    def __init__(self, message: object) -> None:
        line = visible(message)
        if len(line) > LONGEST:
            line = f"{line[: LONGEST // 2]} ... {line[-LONGEST // 3 :]}"
        super().__init__(line)


@contextmanager
def one_line_errors() -> Iterator[None]:
    """Print a mistake of the user as ``error: ...`` and exit with 2, a warning in a line; a bug keeps its traceback."""
    from dotcom.credentials import check_credentials  # which build on this module
    from dotcom.warned import warn_once

    warn_once()
    escape_usage_errors()
    os.environ["HYDRA_FULL_ERROR"] = "1"  # otherwise Hydra prints and exits by itself
    try:
        with reader_may_leave(), tidy_stops():
            check_credentials(sys.argv[1:])
            yield
    except KeyboardInterrupt:  # before there was anything to save
        sys.exit(130)
    except Exception as error:
        line = explain(error)
        if line is None:
            raise
        say(f"error: {line}", sys.stderr)
        sys.exit(2)


def escape_usage_errors() -> None:
    """Let parsers of arguments, also Hydra's, show what they do not know with its control characters as escapes."""
    before = argparse.ArgumentParser.error
    if before.__module__ == "argparse":
        argparse.ArgumentParser.error = lambda parser, message: before(parser, visible(message))  # type: ignore


def explain(error: BaseException) -> str | None:
    """The one line for a mistake of the user, or None for a bug."""
    from hydra.errors import (
        ConfigCompositionException,
        InstantiationException,
        MissingConfigException,
        OverrideParseException,
    )
    from omegaconf.errors import OmegaConfBaseException

    chain = list(causes(error))
    if usage := next((link for link in chain if isinstance(link, UsageError)), None):
        return str(usage)
    if resolving := re.match(r"UsageError raised while resolving interpolation: (.*)", str(error)):
        return resolving[1]
    if any(type(link).__name__ == "MisconfigurationException" for link in chain):  # Lightning
        if scored := re.search(r"ModelCheckpoint\(monitor='([^']+)'\)", str(chain[-1])):
            return unmeasured(scored[1])
        return refused_by_trainer(flat(str(chain[-1])))
    if lost := next(filter(None, map(lost_process, chain)), None):
        return lost
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return unknown_choice(error.missing_cfg_file, error.options or ())
    if isinstance(error, OverrideParseException):
        return f"{error.override}: expected key=value; quote special characters, as in 'key=\"value\"'"
    if several := re.search(r"Ambiguous value for argument '([^=]+)=(.*)'", str(error)):
        key, values = several.groups()
        return f"{key}={values}: several values; add -m to try each of them, or write a list as '{key}=[{values}]'"
    if "Config group override must be" in str(error):
        return "a group cannot be null: expected group=choice; python train.py --help lists the choices"
    if isinstance(error, ConfigCompositionException):
        return unknown_key(str(error))
    if isinstance(error, InstantiationException):
        where = re.search(r"full_key: (\S+)", str(error))
        prefix = f"{where[1]}: " if where else ""
        return prefix + flat(next((str(link) for link in chain[1:] if str(link)), str(error)))
    if missing := re.search(r"Missing mandatory value: (\S+)", str(error)):
        key = (missing.start() == 0 and getattr(error, "full_key", None)) or missing[1]  # else of what asked for it
        return f"{key}: no value; that choice is only a base for others, see python train.py --help"
    if isinstance(error, OmegaConfBaseException):
        return flat(str(error).split("object_type=")[0])
    if isinstance(error, OSError) and error.filename and error.strerror:  # a file or folder that cannot be used
        advice = "; a folder is needed there: move that file away" if isinstance(error, FileExistsError) else ""
        return f"{error.filename}: {error.strerror}{advice}"
    if full := next((link for link in chain if isinstance(link, OSError) and link.errno in FULL), None):
        return f"{full.strerror}; make room, then go on with the same command and resume=true"
    if isinstance(error, ValueError) and raised_in(error, "lightning.pytorch.") and named_argument(str(error)):
        return refused_by_trainer(flat(str(error)))
    return flat(str(error)) if isinstance(error, (ValueError, OSError, ImportError)) and raised_here(error) else None


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """An exception and those it was raised from, outermost first."""
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def raised_here(error: BaseException) -> bool:
    """Whether our own code raised the error on purpose, rather than a library on its way through."""
    return raised_in(error, "dotcom.")


def raised_in(error: BaseException, package: str) -> bool:
    """Whether a module whose name begins with ``package`` raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and trace.tb_frame.f_globals.get("__name__", "").startswith(package)


def refused_by_trainer(message: str) -> str:
    """What Lightning says of a setting, with its name; of what the machine may lack, with what to try."""
    if re.search(r"accelerator|backend|device|gpu|cuda|mps|bf16|precision", message, re.IGNORECASE):
        return f"{message} This machine may lack what hardware= and precision= ask for; try hardware=cpu"
    name = named_argument(message)
    return f"trainer.{name}: {message}" if name else message


def named_argument(message: str) -> str | None:
    """The first argument of Lightning's trainer that a message names, if any."""
    from dotcom.hints import arguments_of  # it builds on this module

    known = set(arguments_of("lightning.Trainer") or ())
    return next((word for word in re.findall(r"\w+", message) if word in known), None)


def lost_process(error: BaseException) -> str | None:
    """The one line for what torch.distributed raises when processes do not find or lose each other, else None."""
    names, said = {kind.__name__ for kind in type(error).__mro__}, str(error)
    where = f"MASTER_ADDR={os.environ.get('MASTER_ADDR')} MASTER_PORT={os.environ.get('MASTER_PORT')}"
    if "EADDRINUSE" in said:
        return f"{where}: that port is in use on this machine; choose another, the same for all processes"
    if ("DistNetworkError" in names and "connect" in said) or "DistStoreError" in names:
        return f"{where}: {flat(said.partition('Exception raised')[0])}; expected the other processes of this run there"
    if "DistError" in names or "gloo/transport" in said or "NCCL" in said:
        reason = flat(re.sub(r"^\[.*?\] *", "", said.partition("Exception raised")[0])).partition(". ")[0]
        return f"{LOST} ({reason}); {GO_ON}"
    return None


def unknown_choice(path: str, options: Iterable[str]) -> str:
    """``model=dotcom_bse: expected ...`` from the missing file ``model/dotcom_bse``."""
    group, _, choice = path.rpartition("/")
    known = [option for option in options if option not in SHARED.get(group, ())]
    return f"{group}={choice}: expected {' | '.join(known)}{did_you_mean(choice, known)}"


def vanished(folder: object) -> str:
    """For a folder of a run that is not there any more."""
    return (
        f"{folder}: the folder of this run is gone, removed or moved while the run wrote to it; a moved one goes on "
        "with hydra.run.dir=ITS_NEW_PLACE resume=true"
    )


def unmeasured(monitor: str) -> str:
    """For a score that a validation did not have, such as that of small objects where there are none."""
    return f"monitor={monitor}: the val split holds nothing to measure it on; choose another monitor= or other data"


def unknown_key(message: str) -> str:
    """From Hydra's complaint about an override, the same with the nearest key that exists."""
    match = re.search(r"Could not override '([^']+)'", message)
    if not match:
        return flat(message)
    from dotcom.hints import hint  # it builds on this module

    key = match[1]
    config = default_settings()
    known = known_keys(config)
    values = [word.partition("=")[2] for word in sys.argv[1:] if word.partition("=")[0].lstrip("+") == key]
    if line := hint(key, (values or ["VALUE"])[0], config, known):
        return f"{line}{'' if line.endswith('?') else ';'} python train.py --help lists all"
    same_end = [name for name in known if name.endswith(f".{key}")]
    near = f"; did you mean {same_end[0]}?" if same_end else did_you_mean(key, known) or ";"
    return f"{key}: no such setting{near} python train.py --help lists all"


def default_settings() -> dict[str, Any]:
    """The settings of the choices on the command line, unresolved."""
    from hydra import compose, initialize_config_dir
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    GlobalHydra.instance().clear()
    groups = [folder.name for folder in CONF.iterdir() if folder.is_dir()]
    chosen = [word for word in sys.argv[1:] if word.partition("=")[0] in groups and not set(",(") & set(word)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config: Any = OmegaConf.to_container(compose("config", chosen), resolve=False)
    return dict(config)


def known_keys(config: dict[str, Any]) -> list[str]:
    """Every group, and every dotted key of the settings, the short ones first."""
    groups = [folder.name for folder in CONF.iterdir() if folder.is_dir()]
    return sorted({*groups, *dotted(config)}, key=lambda key: (key.count("."), key))


def dotted(node: Any, prefix: str = "") -> Iterator[str]:
    """The keys of nested dicts, joined by dots."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from dotted(value, f"{prefix}{key}.")


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean X?`` for the nearest known word, or nothing."""
    close = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]}?" if close else ""


def listed(names: Sequence[str], limit: int = 5, separator: str = ", ") -> str:
    """The first names, and dots if there are more."""
    return separator.join([*names[:limit], *(["..."] if len(names) > limit else [])])


def counted(number: int, thing: str) -> str:
    """``1 arm``, ``2 arms``."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def flat(message: str) -> str:
    """A message on one line."""
    return " ".join(message.split())


def spelled(value: Any) -> str:
    """A value as one writes it on the command line."""
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(spelled, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)
