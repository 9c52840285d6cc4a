"""The ledger of the original's README: complete, following from what is counted, and noticed when it does not."""

import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from experiments.claims import ledger, report, verdicts
from experiments.claims.__main__ import HERE, main
from experiments.claims.ledger import CONTRADICTED, NOT_TESTABLE, REPRODUCED, Claim, Outcome

from dotcom.errors import UsageError

CLAIMS = ledger.read(HERE / "claims.csv")
TABLES = {  # rows and columns of each table of the README, besides the names
    "imagenet": (4, ("MACs", "parameters", "top-1", "latency")),
    "blocks": (4, ("parameters", "MACs", "top-1", "latency")),
    "co_bias": (2, ("MACs", "parameters", "top-1")),
    "coco": (4, ("parameters", "mAP")),
    "voc": (5, ("parameters", "mIoU")),
    "exynos": (29, ("latency", "MACs", "parameters", "top-1")),
}
# of the columns of the largest table, added up from the README itself, as a check of the copying
SUMS = {"latency": 2310, "MACs": 33.56, "parameters": 211.4, "top-1": 2239}


@pytest.fixture(scope="module")
def found() -> list[Outcome]:
    """What is counted today, from the networks themselves."""
    return verdicts.outcomes(CLAIMS)


@pytest.fixture
def counted_before(monkeypatch, found) -> None:
    monkeypatch.setattr(verdicts, "outcomes", lambda _: found)


@pytest.mark.parametrize("section", TABLES)
def test_table__has_a_row_for_each_of_its_numbers(section):
    rows, columns = TABLES[section]
    claims = report.of(CLAIMS, section)
    assert len(claims) == rows * len(columns)
    assert Counter(claim.quantity for claim in claims) == dict.fromkeys(columns, rows)
    assert len({claim.subject for claim in claims}) == rows


@pytest.mark.parametrize("quantity", SUMS)
def test_exynos_column__was_copied_whole(quantity):
    values = [claim.readme for claim in report.of(CLAIMS, "exynos") if claim.quantity == quantity]
    assert sum(float(value.rstrip("msGM")) for value in values) == pytest.approx(SUMS[quantity])


def test_sections__are_all_shown():
    assert {claim.section for claim in CLAIMS} == set(report.SECTIONS)


def test_recorded_outcomes__follow_from_the_networks(found):
    assert ledger.disagreements(CLAIMS, found) == []


def test_accuracies_and_latencies__are_not_claimed_to_be_tested():
    for claim in CLAIMS:
        if claim.quantity in ("top-1", "mAP", "mIoU", "latency"):
            assert claim.verdict == NOT_TESTABLE
            assert claim.command
        if claim.quantity == "latency":
            assert "experiments.latency" in claim.command


def test_dotcom__has_the_published_sizes_and_no_full_count_fits():
    own = [claim for claim in CLAIMS if claim.section == "imagenet" and claim.quantity in ("MACs", "parameters")]
    assert {claim.verdict for claim in own} == {REPRODUCED}
    assert all(claim.how.startswith("convolution") and "all:" in claim.how for claim in own if claim.quantity == "MACs")


def test_contradiction__has_a_note():
    assert [claim.id for claim in CLAIMS if claim.verdict == CONTRADICTED and not claim.note] == []


@pytest.mark.usefixtures("counted_before")
def test_command__writes_the_page_that_is_here(tmp_path, capsys):
    assert main(["--out", str(tmp_path / "README.md")]) == 0
    page = (HERE / "README.md").read_text()
    assert (tmp_path / "README.md").read_text() == page
    assert page.splitlines()[0] == "# Claims: every number of the original's README, and what came of it"
    assert f"{len(CLAIMS)} rows: " in page
    assert str(len(CLAIMS)) in capsys.readouterr().out


@pytest.mark.usefixtures("counted_before")
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"verdict": CONTRADICTED}, "recorded contradicted, 1,731,064, as trained"),
        ({"measured": "1,731,065"}, "recorded reproduced, 1,731,065, as trained"),
    ],
)
def test_command__fails_when_a_recorded_outcome_does_not_follow(tmp_path, capsys, changes, said):
    wrong = [replace(c, **changes) if c.id == "imagenet/dotcom_tiny/parameters" else c for c in CLAIMS]
    ledger.write(tmp_path / "claims.csv", wrong)
    arguments = ["--ledger", str(tmp_path / "claims.csv"), "--out", str(tmp_path / "README.md")]
    assert main(arguments) == 1
    assert f"error: imagenet/dotcom_tiny/parameters: {said}" in capsys.readouterr().err
    assert not (tmp_path / "README.md").exists()
    assert main([*arguments, "--record"]) == 0
    assert ledger.read(tmp_path / "claims.csv") == CLAIMS


def claim(section: str, subject: str, quantity: str, readme: str) -> Claim:
    about = {"section": section, "subject": subject, "quantity": quantity, "readme": readme}
    return Claim(id="one", command="", verdict=REPRODUCED, measured="", **about)


def test_wrong_claim__is_contradicted():
    (one,) = verdicts.outcomes([claim("imagenet", "DoTCoM-Tiny", "parameters", "1.9M")])
    assert (one.verdict, one.measured) == (CONTRADICTED, "1,731,064")


@pytest.mark.parametrize(
    ("printed", "value", "how"),
    [
        ("1.7M", 1_731_064, "way"),
        ("2.8M", 2_870_440, "way, cut off"),
        ("2.8M", 2_780_000, "way"),
        ("0.816G", 0.8164e9, "way"),
        ("0.56", 0.5573e9, "way"),
        ("52.41%", 52.405063, "way"),
        ("2.8M", 2_900_000, "nearest: way"),
        ("2.8M", 2_749_999, "nearest: way"),
    ],
)
def test_digits__are_compared_as_they_were_printed(printed, value, how):
    assert verdicts.compared(printed, {"way": value}).how == how


def test_several_ways__are_all_named_if_they_fit():
    ways = {"a": 1.04e9, "b": 1.2e9, "c": 0.96e9}
    assert verdicts.compared("1.0G", ways) == Outcome(verdict=REPRODUCED, measured="1.040 G", how="a / c")
    assert verdicts.compared("1.3G", ways) == Outcome(verdict=CONTRADICTED, measured="1.200 G", how="nearest: b")
    assert verdicts.compared("1.3", ways).how == "nearest: b"  # the unit that the README forgot once


def test_norms__are_told_but_reproduce_nothing():
    """0.56 of EdgeViT-XXS fits no way of counting that another row takes."""
    (one,) = verdicts.outcomes([claim("exynos", "EdgeViT-XXS", "MACs", "0.56")])
    assert one.verdict == CONTRADICTED
    assert one.how == "nearest: all, at 224; all and norms, as fvcore counts: 0.557 G"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text.replace("reproduced", "right", 1), r"row 2: verdict=right, expected reproduced \| contra"),
        (lambda text: text + text.splitlines()[1] + "\n", "imagenet/dotcom_tiny/macs is there twice"),
        (lambda text: text.replace("readme", "read", 1), "row 2: expected the columns id, section, subject, quantity"),
    ],
)
def test_damaged_ledger__is_named(tmp_path: Path, change, said):
    (tmp_path / "claims.csv").write_text(change((HERE / "claims.csv").read_text()))
    with pytest.raises(UsageError, match=said):
        ledger.read(tmp_path / "claims.csv")


def test_command__answers_without_torch():
    code = "import sys, experiments.claims.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
