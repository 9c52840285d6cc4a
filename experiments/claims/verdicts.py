"""What follows for each claim from networks that are counted and numbers that are worked out."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace

from experiments.claims import networks
from experiments.claims.ledger import CONTRADICTED, NOT_TESTABLE, REPRODUCED, Claim, Outcome
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from dotcom.config import register_resolvers
from dotcom.errors import CONF

UNITS = {"M": 1e6, "G": 1e9, "%": 1}
UNTESTABLE = {
    "top-1": "no ImageNet-1k here",
    "mAP": "no MS-COCO here",
    "mIoU": "no PASCAL VOC here",
    "latency": "no Exynos 2100 here",
    "version": "an environment, not a result",
}
RECIPE = {  # key of experiment=imagenet for each number in the README's training command
    "GPUs": "hardware.devices",
    "batch size": "data.batch_size",
    "epochs": "epochs",
    "learning rate": "optimizer.lr",
    "weight decay": "optimizer.weight_decay",
}
EXYNOS = ("exynos", "MACs")
CLASSIFIER = 385_000  # parameters of the linear layer of EdgeViT-S, 384 to 1000


def outcomes(claims: Sequence[Claim]) -> list[Outcome]:
    """One outcome per claim, in order."""
    table = {(claim.section, claim.subject, claim.quantity): claim.readme for claim in claims}
    return [outcome(claim, table) for claim in claims]


def outcome(claim: Claim, table: Mapping[tuple[str, str, str], str]) -> Outcome:
    """What the computation says about a claim.

    Args:
        claim: One of the ledger.
        table: Every value of the README by section, subject and quantity.
    """
    if claim.quantity in UNTESTABLE:
        return Outcome(verdict=NOT_TESTABLE, measured=UNTESTABLE[claim.quantity])
    if claim.section == "training":
        return recipe(claim)
    if claim.section in ("text", "within"):
        return arithmetic(claim, table)
    if claim.section == "blocks":
        return block(claim, table)
    if claim.section in networks.CLASSES:
        return compared(claim.readme, networks.head_cost(claim.section, claim.subject))
    return classifier(claim)


def classifier(claim: Claim) -> Outcome:
    """Parameters or multiply-accumulates of a network that classifies."""
    subject, co_bias = claim.subject, True
    if claim.section == "co_bias":  # the table has no column for the size; its numbers are those of Large
        subject, co_bias = "DoTCoM-Large", claim.subject == "W/"
    cost = networks.classifier_cost(subject, co_bias=co_bias)
    if claim.quantity == "parameters":
        return compared(claim.readme, cost.parameters)
    found = compared(claim.readme, plain(cost))
    ways = found.how.removeprefix("nearest: ").removesuffix(", cut off").split(" / ")
    more = [] if networks.ALL in ways else [networks.ALL]
    norms = {networks.WITH_NORMS: cost.macs[networks.WITH_NORMS]}
    if found.verdict == CONTRADICTED and compared(claim.readme, norms).verdict == REPRODUCED:
        more += norms  # a way that no other row needs is told, and does not count
    told = "".join(f"; {way}: {cost.macs[way] / 1e9:.3f} G" for way in more)
    return replace(found, how=f"{found.how}, at {cost.image_size}{told}")


def plain(cost: networks.Cost) -> dict[str, int]:
    """Multiply-accumulates without those of norms."""
    return {way: count for way, count in cost.macs.items() if way != networks.WITH_NORMS}


def block(claim: Claim, table: Mapping[tuple[str, str, str], str]) -> Outcome:
    """The README does not name the network of this table: look at the DoTCoM with that block that comes nearest."""
    size = nearest(table["blocks", claim.subject, "parameters"], networks.block_sizes(claim.subject.lower()))
    cost = networks.classifier_cost(size, block=claim.subject.lower())
    both = {"parameters": cost.parameters, "MACs": plain(cost)}
    found = {quantity: compared(table["blocks", claim.subject, quantity], both[quantity]) for quantity in both}
    if all(one.verdict == REPRODUCED for one in found.values()):
        return found[claim.quantity]
    way = found[claim.quantity].how.removeprefix("nearest: ")
    how = f"the network is not named; nearest in parameters: {size}; counted: {way}"
    return Outcome(verdict=NOT_TESTABLE, measured=found[claim.quantity].measured, how=how)


def recipe(claim: Claim) -> Outcome:
    """Whether ``experiment=imagenet`` trains with the README's settings."""
    register_resolvers()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        config = compose("config", ["experiment=imagenet", "hydra.run.dir=.", "run_name=claims", "output_dir=."])
    key = RECIPE[claim.quantity]
    value = OmegaConf.select(config, key)
    measured = f"{key}={value}"
    if key == "data.batch_size":  # of each GPU; the original's code shares one batch out
        devices = config.hardware.devices
        value, measured = value * devices, f"{value * devices} images a step: {measured} on {devices} GPUs"
    verdict = REPRODUCED if float(claim.readme) == float(value) else CONTRADICTED
    return Outcome(verdict=verdict, measured=measured, how="experiment=imagenet")


def arithmetic(claim: Claim, table: Mapping[tuple[str, str, str], str]) -> Outcome:
    """What the README's own tables give for a number in its text, or for a number that another table repeats."""

    def value(section: str, subject: str, quantity: str) -> float:
        return value_of(table[section, subject, quantity])

    if claim.quantity == "fewer FLOPs":  # than the block that is the subject
        other, qib = (value("blocks", name, "MACs") for name in (claim.subject, "QIB"))
        return compared(claim.readme, {"from its table": 100 * (other - qib) / other})
    if claim.quantity == "same accuracy":
        one, other = (table["blocks", name, "top-1"] for name in ("Basic", "QIB"))
        verdict = REPRODUCED if one == other else CONTRADICTED
        return Outcome(verdict=verdict, measured=f"{one} and {other} %", how="from its table; the accuracies untested")
    if claim.quantity == "gain":
        with_it, without = (value("co_bias", name, "top-1") for name in ("W/", "W/o"))
        gain = with_it - without
        verdict = REPRODUCED if round(gain, 1) == round(value_of(claim.readme), 1) else CONTRADICTED
        return Outcome(
            verdict=verdict, measured=f"{gain:.1f} points, {100 * gain / without:.1f} %", how="from its table"
        )
    if claim.quantity == "own backbone":
        detector, whole = value("coco", claim.subject, "parameters"), value("exynos", claim.subject, "parameters")
        verdict = REPRODUCED if detector > whole - CLASSIFIER else CONTRADICTED
        left = f"{(whole - CLASSIFIER) / 1e6:.1f} M are left of the Exynos row without its linear layer"
        return Outcome(verdict=verdict, measured=left, how="from its tables")
    if claim.quantity == "one way of counting":
        return one_way(table)
    columns = ("MACs", "parameters", "top-1", "latency")
    pairs = [(long, short) for long, short in zip(networks.DOTCOM, networks.SHORT, strict=True)]
    equal = [table["imagenet", a, c] == table["exynos", b, c] for a, b in pairs for c in columns]
    verdict = REPRODUCED if all(equal) else CONTRADICTED
    return Outcome(verdict=verdict, measured=f"{sum(equal)} of {len(equal)} numbers are equal", how="from its tables")


def one_way(table: Mapping[tuple[str, str, str], str]) -> Outcome:
    """Whether the FLOPs column of the Exynos table counts the same things in all rows, each at its own image size."""
    rows = {subject: value for (section, subject, quantity), value in table.items() if (section, quantity) == EXYNOS}
    costs = {subject: plain(networks.classifier_cost(subject)) for subject in rows}
    fitting = {
        way: [name for name in rows if compared(rows[name], {way: costs[name][way]}).verdict == REPRODUCED]
        for way in (networks.ALL, networks.LINEAR, networks.CONVOLUTION)
    }
    verdict = REPRODUCED if any(len(names) == len(rows) for names in fitting.values()) else CONTRADICTED
    ours = sum(name in fitting[networks.ALL] for name in networks.SHORT)
    shares = ", ".join(f"{way} fits {len(names)}" for way, names in fitting.items())
    return Outcome(verdict=verdict, measured=f"of {len(rows)} rows {shares}", how=f"all fits {ours} of DoTCoM's 4")


def compared(printed: str, ways: Mapping[str, float]) -> Outcome:
    """Which of several counts is the printed one, rounded or, if none is, cut off after its last digit."""
    for reading in ("", ", cut off"):
        fitting = [way for way, value in ways.items() if digits(printed, value, bool(reading)) == number(printed)]
        if fitting:
            return Outcome(
                verdict=REPRODUCED, measured=spelled(printed, ways[fitting[0]]), how=" / ".join(fitting) + reading
            )
    way = nearest(printed, ways)
    return Outcome(verdict=CONTRADICTED, measured=spelled(printed, ways[way]), how=f"nearest: {way}")


def nearest(printed: str, ways: Mapping[str, float]) -> str:
    """The name of the value that comes nearest."""
    value = float(number(printed)) * UNITS[unit(printed)]
    return min(ways, key=lambda way: abs(ways[way] - value))


def number(printed: str) -> str:
    """``0.816`` of ``0.816G``."""
    return printed.rstrip("".join(UNITS))


def unit(printed: str) -> str:
    """``G`` of ``0.816G``; where the README forgot it, G too."""
    return printed.removeprefix(number(printed)) or "G"


def value_of(printed: str) -> float:
    """816e6 of ``0.816G``; a percentage or a plain number as it is."""
    return float(number(printed)) * UNITS.get(printed[-1], 1)


def digits(printed: str, value: float, cut: bool) -> str:
    """A value with as many decimals as were printed."""
    places = len(number(printed).partition(".")[2])
    scaled = value / UNITS[unit(printed)]
    return f"{math.floor(scaled * 10**places) / 10**places if cut else scaled:.{places}f}"


def spelled(printed: str, value: float) -> str:
    """A value in full: parameters to the last one, others with three decimals."""
    scaled = f"{value / UNITS[unit(printed)]:.3f} {unit(printed)}"
    return f"{round(value):,}" if unit(printed) == "M" else scaled
