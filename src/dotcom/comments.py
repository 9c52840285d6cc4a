"""What the comments in ``conf/`` say of the keys that they stand beside. Nothing here imports torch."""

import re
from dataclasses import dataclass, field
from pathlib import Path

from omegaconf import OmegaConf

LINE = re.compile(r"(?P<indent> *)(?P<key>[\w.]+):(?: (?P<value>[^#]*))?(?:# (?P<comment>.*))?")


@dataclass
class Comments:
    """What the comments of some files of ``conf/`` say.

    Attributes:
        about: Of keys, by their dotted names in the whole configuration.
        sections: The heading above a key of ``config.yaml``.
    """

    about: dict[str, str] = field(default_factory=dict)
    sections: dict[str, str] = field(default_factory=dict)

    def read(self, path: Path, prefix: str = "", heading: str | None = None) -> None:
        """Add those of a file; what an earlier file said of a key, or of one that holds it, stays.

        Args:
            path: The file.
            prefix: Of its keys in the whole configuration, such as ``optimizer.``.
            heading: Above its keys; default: the comment line that stands above each.
        """
        place: list[tuple[int, str]] = []  # indentation and name of the keys around a line
        before, above = Comments(dict(self.about)), heading or ""
        for line in path.read_text().splitlines():
            if line.startswith("# ") and heading is None:
                above = line.removeprefix("# ")
            if (match := LINE.fullmatch(line)) is None:
                continue
            place = [entry for entry in place if entry[0] < len(match["indent"])]
            place.append((len(match["indent"]), match["key"]))
            key = prefix + ".".join(name for _, name in place)
            if match["comment"] and not before.of(key):
                self.about[key] = match["comment"]
            if len(place) == 1:
                self.sections.setdefault(key, above)

    def of(self, key: str) -> str:
        """Of a key, or of the nearest one that holds it."""
        while key not in self.about and "." in key:
            key = key.rpartition(".")[0]
        return self.about.get(key, "")


def with_bases(path: Path) -> list[Path]:
    """A file of a group after those of the same group that it builds on."""
    defaults = list(OmegaConf.select(OmegaConf.load(path), "defaults", default=[])) if path.exists() else []
    bases = [path.with_name(f"{base}.yaml") for base in defaults if isinstance(base, str) and base != "_self_"]
    return [file for base in bases for file in with_bases(base)] + [path] * path.exists()
