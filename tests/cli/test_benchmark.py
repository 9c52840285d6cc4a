"""``dotcom benchmark`` measures models, checkpoints and files, says where and with what, and names every mistake."""

import csv
import subprocess
import sys

import pytest
import torch

from dotcom.benchmark import measure, networks, targets
from dotcom.cli import main
from dotcom.models import Classifier, DoTCoM, DoTCoMConfig
from recorded import config_of

pytest.importorskip("onnxruntime", reason="the extra onnx is not installed")
pytest.importorskip("onnxscript", reason="the extra onnx is not installed")


def tiny(*_) -> Classifier:
    """A real network, as small as the blocks allow."""
    config = DoTCoMConfig(stem=8, early=(8, 8), inner=(16, 16, 16), outer=(16, 16, 16), last=16, depths=(1, 1, 1))
    return Classifier(DoTCoM(config), 5).eval()


def benchmark(where, *words, memory=measure.memory_of) -> int:
    """The command with tiny networks, two rounds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(measure, "memory_of", memory)
        patch.setattr(networks, "from_conf", tiny)
        patch.setattr(networks, "from_checkpoint", tiny)
        return main(["benchmark", *map(str, words), "--rounds", "2", "--out", str(where)])


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Results of a model in ONNX Runtime."""
    where = tmp_path_factory.mktemp("model")
    assert benchmark(where, "dotcom_tiny", "--runtimes", "onnx", "--size", "64") == 0
    return where


@pytest.fixture(scope="module")
def mixed(folder, tmp_path_factory):
    """Results of a checkpoint in PyTorch, the file that the model left, and one that no runtime can read."""
    where = tmp_path_factory.mktemp("run")
    config = config_of("data=fashion", "image_size=64", "hardware=cpu")
    torch.save({"config": config, "state_dict": {}}, where / "best.ckpt")
    (where / "broken.onnx").write_bytes(b"no graph")
    words = (where / "best.ckpt", folder / "files" / "dotcom_tiny-64.onnx", where / "broken.onnx")
    assert benchmark(where, *words, "--runtimes", "torch", memory=lambda row, threads: None) == 1
    return where


def read(folder):
    with (folder / "latency.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_benchmark__has_a_row_for_a_model_a_checkpoint_and_a_file(folder, mixed):
    rows = read(folder) + read(mixed)
    assert [(row["model"], row["runtime"]) for row in rows] == [
        ("dotcom_tiny", "onnx"),
        (f"{mixed.name}/best.ckpt", "torch"),
        ("dotcom_tiny-64.onnx", "onnx"),
    ]
    for row in rows:
        assert (row["image_size"], row["threads"], row["clock"]) == ("64", "1", "CPU")
        assert 0 < float(row["p50_ms"]) <= float(row["p90_ms"]) <= float(row["p99_ms"])
        assert float(row["ratio_low"]) <= float(row["ratio"]) <= float(row["ratio_high"])
        assert int(row["parameters"]) == sum(p.numel() for p in tiny().parameters())
        assert int(row["macs"]) > 1e6
        assert int(row["file_bytes"]) > 4 * int(row["parameters"])
    assert [float(row["ratio"]) == 1 for row in rows] == [True, True, False]
    assert [row["published_top1"] for row in rows] == ["74.0", "", "74.0"]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells the highest resident set since a moment")
def test_memory__is_that_of_the_file_in_its_runtime(folder):
    (row,) = read(folder)
    assert int(row["file_bytes"]) < int(row["memory_bytes"]) < 500e6


def test_benchmark__goes_on_without_a_file_that_its_runtime_refuses(mixed):
    assert "broken.onnx onnx was not measured" in (mixed / "latency.md").read_text()


def test_benchmark__says_on_every_table_where_and_with_what(mixed):
    (said,) = {tuple(row[key] for key in ("CPU", "cores", "load", "canary", "versions")) for row in read(mixed)}
    text = (mixed / "latency.md").read_text()
    for fact in said:
        assert fact
        assert fact in text
    assert f"torch {torch.__version__.partition('+')[0]}" in said[-1]
    assert "onnxruntime" in said[-1]
    assert "drift" in said[-2]


def test_markdown__is_one_table_with_every_row(mixed):
    table = [line for line in (mixed / "latency.md").read_text().splitlines() if line.startswith("|")]
    assert len(table) == 2 + 2
    assert len({line.count("|") for line in table}) == 1
    assert table[3].startswith("| dotcom_tiny-64.onnx | onnx | 64 | 1 |")


def test_plot__is_drawn_where_a_top1_is_known(folder):
    assert (folder / "latency.png").read_bytes().startswith(b"\x89PNG")


def test_runtime__that_is_missing_is_named_with_what_installs_it(monkeypatch):
    monkeypatch.setattr(targets.formats, "absent", lambda modules: [name for name in modules if name == "openvino"])
    wanted, usable, lacking = targets.runnable(targets.targets(["dotcom_tiny"]), ("openvino", "onnx"))
    assert ([target.name for target in wanted], usable) == (["dotcom_tiny"], ["onnx"])
    assert lacking == ["openvino is left out: openvino not installed; pip install 'dotcom[openvino]'"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["dotcom_tiney"], "dotcom_tiney: no such model; did you mean dotcom_tiny?"),
        (["dotcom"], "dotcom: no such model"),
        (["nowhere.onnx"], "nowhere.onnx: no such file"),
        (["runs/nothing"], "runs/nothing: no such file"),
        ([__file__], "expected one of .onnx"),
        (["dotcom_tiny", "dotcom_tiny"], "dotcom_tiny: named twice"),
        (["--threads", "abc"], "--threads abc: expected numbers from 1 to"),
        (["--threads", "0"], "--threads 0: expected numbers from 1 to"),
        (["--runtimes", "torch,onxx"], "--runtimes torch,onxx: expected of torch,onnx"),
        (["--size", "100"], "--size 100: expected a multiple of 32"),
        (["--rounds", "0"], "--rounds 0: expected a number above 0"),
    ],
)
def test_mistakes__are_one_line(words, said, capsys):
    with pytest.raises(SystemExit) as raised:
        main(["benchmark", *words])
    assert raised.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ")
    assert said in line


def test_mistakes__are_found_without_torch():
    code = (
        "import sys; from dotcom.cli import main\n"
        "try: main(['benchmark', 'dotcom_tiny', 'nowhere.onnx', '--runtimes', 'onnx'])\n"
        "except SystemExit: print([m for m in ('torch', 'matplotlib', 'onnxruntime') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    assert done.stderr.startswith("error: nowhere.onnx: no such file")
