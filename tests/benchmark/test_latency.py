"""The experiment on the README's table: its rows, ranks and ratios, what a phone adds, and what the page says first."""

import csv
from pathlib import Path

import pytest
from experiments.latency import __main__ as command
from experiments.latency.page import Study, as_csv, as_markdown
from experiments.latency.ranks import agreements, equals, ranks
from experiments.latency.rows import FOLDER, entries, phone

from dotcom.benchmark.measure import Session
from dotcom.benchmark.published import published
from dotcom.benchmark.rows import Row
from dotcom.benchmark.targets import known_models
from dotcom.errors import UsageError

KEYS = ("mobilenetv2_100", "dotcom_tiny", "mobilevit_xs", "efficientnet_b0", "dotcom_tiny@224")
SLOWER = {
    "mobilenetv2_100": 1.0,
    "dotcom_tiny": 3.0,
    "mobilevit_xs": 2.0,
    "efficientnet_b0": 4.0,
    "dotcom_tiny@224": 2.5,
}


def session(tmp_path: Path, runtime: str = "onnx", keys=KEYS) -> Session:
    """Three rounds of two calls, in which every row takes 10 ms times its factor, on a machine that gets slower."""
    rows = []
    for key in keys:
        path = tmp_path / f"{key}.{runtime}"
        path.write_bytes(b"x" * 1000)
        card = {"name": key, "parameters": 2_000_000, "macs": int(SLOWER[key] * 1e8), "commit": "abc"}
        rows.append(Row(key, runtime, path, 256, card, own=True))
    calls = {row.label: [[10 * n * SLOWER[row.name]] * 2 for n in (1.0, 1.1, 1.2)] for row in rows}
    return Session(1, rows, calls, [10.0, 10.1, 10.2], [1.0, 1.0, 1.0, 1.0], {}, {row.label: None for row in rows})


def study(tmp_path: Path, phones=None, failed=None) -> Study:
    return Study(entries(KEYS), {"onnx": session(tmp_path)}, phones or {}, failed or {})


def test_rows__are_the_29_of_the_readme_and_dotcom_on_the_smaller_image():
    rows = entries()
    assert [row.said for row in rows if not row.extra] == published()
    assert [row.key for row in rows if row.extra] == [
        f"dotcom_{size}@224" for size in ("tiny", "small", "base", "large")
    ]
    assert {row.target.source for row in rows} <= set(known_models())
    assert {row.image_size for row in rows} == {224, 240, 256}


def test_ranks__share_the_mean_where_values_are_equal():
    assert ranks({"a": 3.0, "b": 1.0, "c": 3.0, "d": 2.0}) == {"a": 3.5, "b": 1.0, "c": 3.5, "d": 2.0}


def test_rho__is_the_textbooks():
    rows = [row for row in entries() if row.key in ("shvit_s1", "shvit_s2", "shvit_s3", "shvit_s4", "dotcom_tiny")]
    values = {"shvit_s1": 1.0, "shvit_s2": 3.0, "shvit_s3": 2.0, "shvit_s4": 4.0, "dotcom_tiny": 5.0}
    found = {each.what: each for each in agreements(rows, values)}
    # README: 32, 38, 45, 65 ms, and 23 of DoTCoM-T, so ranks 2 3 4 5 1 against 1 3 2 4 5
    assert found["peers"].rho == pytest.approx(1 - 6 * (0 + 1 + 1 + 0) / (4 * (4**2 - 1)))
    assert found["with DoTCoM at 256"].rho == pytest.approx(1 - 6 * (1 + 0 + 4 + 1 + 16) / (5 * (5**2 - 1)))
    assert (found["peers"].n, found["with DoTCoM at 256"].n) == (4, 5)


def test_rho__leaves_out_what_was_not_measured():
    rows = entries()
    found = {each.what: each.n for each in agreements(rows, {row.key: row.said.ms for row in rows[:12]})}
    assert found == {"peers": 11, "peers of timm": 10, "with DoTCoM at 256": 12}


def test_equals__are_within_the_stated_points():
    pairs = {(ours.key, peer.key) for ours, peer in equals(entries())}
    assert {("dotcom_small", "efficientnet_b0"), ("dotcom_base", "repvit_m1_0"), ("dotcom_large", "fat_b2")} <= pairs
    assert ("dotcom_tiny@224", "mobilevit_xs") in pairs  # 0.8 points
    assert ("dotcom_small", "mobilevit_s") not in pairs  # 0.9 points
    assert not [pair for pair in pairs if pair[1].startswith("dotcom")]


def test_page__says_first_that_this_is_no_phone(tmp_path):
    text = as_markdown(study(tmp_path))
    before = text[: text.index("|")]
    assert "not on an Exynos 2100" in before
    assert as_csv(study(tmp_path)).splitlines()[0].startswith("# Measured on one")


def test_page__has_times_ranks_rho_ratios_and_what_is_missing(tmp_path):
    text = as_markdown(study(tmp_path, failed={"fat_b0 onnx": "ValueError: no"}))
    assert "| MobileNetv2 | mobilenetv2_100 | 224 | 69.8 | 25 (2) | 11.0 (1) |" in text
    assert "| DoTCoM-T | dotcom_tiny | 256 | 74.0 | 23 (1) | 33.0 (3) |" in text
    assert "| DoTCoM-T | dotcom_tiny@224 | 224 | 74.0 | 23 | 27.5 |" in text
    assert "| dotcom_tiny | MobileViT-XS | 74.0 / 74.8 | 0.27 | 1.50 [1.50 to 1.50] |" in text
    assert "| onnx | 0.50 (3) | 0.50 (3) | " in text
    assert "fat_b0 onnx is missing: ValueError: no" in text
    assert "three-quarter width" in text


def test_csv__can_be_read_after_its_first_line(tmp_path):
    rows = list(csv.DictReader(as_csv(study(tmp_path)).splitlines()[1:]))
    assert [row["model"] for row in rows] == list(KEYS)
    assert rows[1]["onnx ms"] == str(10 * 1.1 * 3.0)
    assert rows[1]["parameters"] == "2000000"


def test_command__merges_what_was_measured_on_a_phone(tmp_path, monkeypatch):
    lines = ["model,runtime,ms,device", "dotcom_tiny,onnx,50,Galaxy", "mobilenetv2_100,onnx,9,Galaxy"]
    lines += ["mobilevit_xs,onnx,30.5,Galaxy", "efficientnet_b0,executorch,12,Galaxy"]
    (tmp_path / "phone.csv").write_text("\n".join(lines))
    monkeypatch.setattr(command, "measure", lambda rows, usable, rounds: ({"onnx": session(tmp_path)}, {}))
    command.main(["--rows", ",".join(KEYS), "--runtimes", "torch", "--out", str(tmp_path)])
    text = (tmp_path / "README.md").read_text()
    assert (
        "| row | network | size | top-1 (README) | phone (README) | onnx | onnx on Galaxy | executorch on Galaxy |"
        in text
    )
    assert "| DoTCoM-T | dotcom_tiny | 256 | 74.0 | 23 (1) | 33.0 (3) | 50.0 (3) | - |" in text
    assert "| onnx on Galaxy | - | - | -0.50 (3) |" in text
    rows = list(csv.DictReader((tmp_path / "table.csv").read_text().splitlines()[1:]))
    assert [row["onnx on Galaxy ms"] for row in rows] == ["9.0", "50.0", "30.5", "", ""]
    assert (tmp_path / "latency.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("model,ms\na,1\n", "expected the columns model,runtime,ms,device"),
        ("model,runtime,ms,device\ndotcom_tny,onnx,5,x\n", "dotcom_tny is no row; did you mean dotcom_tiny?"),
        ("model,runtime,ms,device\ndotcom_tiny,onnx,fast,x\n", "ms=fast: expected milliseconds above 0"),
        ("model,runtime,ms,device\ndotcom_tiny,onnx,0,x\n", "ms=0: expected milliseconds above 0"),
    ],
)
def test_phone__names_a_mistake_with_its_line(tmp_path, content, said):
    (tmp_path / "phone.csv").write_text(content)
    with pytest.raises(UsageError, match=r"phone\.csv") as raised:
        phone(tmp_path / "phone.csv")
    assert said in str(raised.value)


def test_record__has_every_row_and_three_runtimes():
    lines = (FOLDER / "table.csv").read_text().splitlines()
    assert "not on an Exynos 2100" in lines[0]
    rows = list(csv.DictReader(lines[1:]))
    assert [row["model"] for row in rows] == [entry.key for entry in entries()]
    measured = [name for name in rows[0] if name.endswith(" ms") and all(float(row[name]) > 0 for row in rows)]
    assert {"onnx ms", "openvino ms", "executorch ms", "torch ms"} <= set(measured)


def test_again__forgets_the_files_of_some_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "WORK", tmp_path)
    (tmp_path / "files").mkdir()
    for name in ("dotcom_tiny-256.onnx.json", "dotcom_tiny@224-224.pte.json", "shvit_s1-224.onnx.json"):
        (tmp_path / "files" / name).touch()
    command.forget("dotcom_tiny,dotcom_tiny@*")
    assert [file.name for file in (tmp_path / "files").iterdir()] == ["shvit_s1-224.onnx.json"]
    with pytest.raises(UsageError, match="fits no row"):
        command.forget("resnet*")
