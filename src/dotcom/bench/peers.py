"""What is said about the latency of other networks: nothing that was not measured. The bench does not repeat it."""

import csv

from dotcom.errors import CONF

TABLE = CONF.parent / "experiments" / "latency" / "table.csv"


def peers() -> str:
    """How well the order of the README's milliseconds repeats, from the study of latencies, if it is here."""
    claim = "no latency advantage over peers is claimed"
    if not TABLE.exists():
        return claim
    from scipy import stats

    lines = [line for line in TABLE.read_text().splitlines() if not line.startswith("#")]
    rows = [row for row in csv.DictReader(lines) if row["onnx ms"] and row["readme_ms"]]
    others = [row for row in rows if not row["model"].startswith("dotcom")]
    published = others + [row for row in rows if row not in others and "@" not in row["model"]]
    rho = [
        stats.spearmanr([float(row["readme_ms"]) for row in some], [float(row["onnx ms"]) for row in some]).statistic
        for some in (others, published)
    ]
    return (
        f"{claim}: Spearman's rho between the README's milliseconds and ONNX Runtime's on x86 was {rho[0]:.2f} "
        f"among {len(others)} peers, {rho[1]:.2f} with DoTCoM (experiments/latency)"
    )
