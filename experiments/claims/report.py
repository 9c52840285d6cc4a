"""The ledger as tables: for the terminal, and as the README of this folder."""

from collections import Counter
from collections.abc import Sequence

from experiments.claims.ledger import CONTRADICTED, VERDICTS, Claim
from rich.table import Table

SECTIONS = {
    "imagenet": "ImageNet-1k",
    "blocks": "Convolution blocks",
    "co_bias": "Effects of Co-Bias",
    "coco": "MS-COCO",
    "voc": "PASCAL VOC 2012",
    "exynos": "Exynos 2100",
    "text": "In the text",
    "training": "Training command",
    "install": "Installation",
    "within": "One table against another",
}
TITLE = "# Claims: every number of the original's README, and what came of it\n"
LEGEND = """
`python -m experiments.claims` counts and compares again, writes this page from [claims.csv](claims.csv), and exits with
1 if a recorded outcome no longer follows. `--record` takes today's outcomes over into the ledger; notes are written by
hand.

- *reproduced*: what we count, or the README's own table, gives the printed digits, rounded or cut off. For
  multiply-accumulates that is said of the network at the image size it was published for, and `how` names each way of
  counting that fits: all, convolutions and linear layers (without the products of attention), or convolutions alone.
  Detectors and segmenters are held against each head that we offer, as the README names none; `how` names the one that
  fits, and DoTCoM-Base and DoTCoM-Large fit with different ones. Of the training command it says only that
  `experiment=imagenet` has the same setting.
- *contradicted*: it gives other digits. The note says what else would.
- *not testable here*: no ImageNet-1k, MS-COCO, PASCAL VOC or Exynos 2100 at hand, or the network is not named.

The README calls multiply-accumulates FLOPs. Parameters are counted for 1000 classes (classifiers), 80 (MS-COCO, and
the background), 21 (PASCAL VOC). *Folded*: after timm has merged what only training needs. Latencies stand in
`experiments/latency`. The rows of the last table compare numbers of the README with one another.
"""


def totals(claims: Sequence[Claim]) -> list[tuple[str, int, int, int, int]]:
    """For each section and for all: rows, and rows of each verdict."""
    lines = []
    for title, part in [*((SECTIONS[s], of(claims, s)) for s in SECTIONS), ("all", list(claims))]:
        count = Counter(claim.verdict for claim in part)
        lines.append((title, len(part), *(count[verdict] for verdict in VERDICTS)))
    return lines


def of(claims: Sequence[Claim], section: str) -> list[Claim]:
    """The rows of one section."""
    return [claim for claim in claims if claim.section == section]


def terminal(claims: Sequence[Claim]) -> Table:
    """The totals."""
    table = Table("section", *(f"{word}" for word in ("rows", *VERDICTS)))
    for title, *counts in totals(claims):
        table.add_row(title, *map(str, counts), end_section=title == list(SECTIONS.values())[-1])
    return table


def markdown(claims: Sequence[Claim]) -> str:
    """The README of this folder."""
    *_, (_, number, *counts) = totals(claims)
    summary = ", ".join(f"{count} {verdict}" for count, verdict in zip(counts, VERDICTS, strict=True))
    parts = [TITLE, f"{number} rows: {summary}.", LEGEND, table(("section", "rows", *VERDICTS), totals(claims))]
    wrong = [claim for claim in claims if claim.verdict == CONTRADICTED]
    parts += ["## Contradicted\n", rows(wrong, ("section", "subject", "quantity"), "note")]
    for section, title in SECTIONS.items():
        columns = ("subject", "quantity")
        parts += [f"## {title}\n", rows(of(claims, section), columns, "how")]
    return "\n".join(parts)


def rows(claims: Sequence[Claim], columns: Sequence[str], last: str) -> str:
    """A table of claims: what it is about, the README's value, the verdict and what was measured, then one column."""
    names = (*columns, "readme", "verdict", "measured", last)
    return table(names, [[getattr(claim, name) for name in names] for claim in claims])


def table(head: Sequence[str], lines: Sequence[Sequence[object]]) -> str:
    """A table in Markdown."""
    cells = [head, ["---"] * len(head), *lines]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in cells) + "\n"
