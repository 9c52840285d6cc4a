"""A study's page, opened in a real browser: what it says, what it does not load, and how it behaves."""

import csv
import io
import json
import re
import subprocess
import sys
from pathlib import Path
from statistics import fmean
from urllib.parse import unquote

import pytest
from experiments.page.__main__ import main
from PIL import Image

from browser import Document, evaluated, opened
from dotcom.errors import UsageError
from studies import SEEDS, write_study

HOSTILE = '"><img src=x onerror=document.title=1></script><script>document.title=2</script>'


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_study(tmp_path_factory.mktemp("runs") / "co_bias")


@pytest.fixture(scope="module")
def page(study: Path) -> Path:
    figures = study.parent / "figures"
    figures.mkdir()
    Image.effect_noise((1800, 900), 80).save(figures / "histograms.png")
    (figures / "moments.csv").write_text("block,mean\nstages.2.0,-0.25\n")
    out = study.parent / "page.html"
    question = ["--title", "Co-Bias", "--question", "Does Co-Bias help?"]
    main([str(study), "--out", str(out), *question, "--figures", str(figures)])
    return out


@pytest.fixture(scope="module")
def shown(page: Path) -> tuple[Document, list[str], str]:
    source, console = opened(page, page.parent)
    return Document(source), console, source


def table_csv(study: Path) -> str:
    command = [sys.executable, "-m", "experiments.table", str(study), "--format", "csv"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_page__renders_without_a_word_on_the_console(shown):
    document, console, source = shown
    assert console == []
    assert ("html", "true") in {(tag, attributes.get("data-ready")) for tag, attributes in document.elements}
    assert "Does Co-Bias help?" in source
    pictures = [attributes for tag, attributes in document.elements if tag == "img"]
    assert len(pictures) == 4 + 1  # an arm each, and the figure
    assert all(picture["alt"] for picture in pictures)
    plots = [attributes for tag, attributes in document.elements if tag == "svg" and attributes.get("role") == "img"]
    assert len(plots) == 5  # scores, differences, three curves
    assert all(plot["aria-label"] for plot in plots)
    bands = [attributes for tag, attributes in document.elements if "band" in (attributes.get("class") or "")]
    assert len(bands) == 3 * 4


def test_page__tells_settings_cost_and_every_run(shown, study):
    document, _, _ = shown
    assert document.tables["differing"][1:] == [["co_bias, model.co_bias", "false", "first", "second", "true"]]
    assert ["epochs", "8"] in document.tables["common"]
    told = [json.loads(path.read_text()) for path in study.glob("co_bias-true__*/run.json")]
    cost = document.tables["cost"][4]
    assert cost[:3] == ["co_bias=true", "1,448,954", "45.3 M"]
    assert float(cost[3]) == pytest.approx(fmean(run["minutes"] for run in told), abs=0.00501)
    assert float(cost[4]) == pytest.approx(fmean(run["images_per_second"] for run in told), abs=0.501)
    values = {float(row[2]) for row in document.tables["runs"][1:] if row[0] == "co_bias=true"}
    assert fmean(values) == float(list(csv.DictReader(io.StringIO(table_csv(study))))[3]["mean"])


def test_page__loads_nothing(shown, page):
    document, _, _ = shown
    for _, attributes in document.elements:
        for name in ("src", "href", "srcset", "data", "poster", "action"):
            assert (attributes.get(name) or "data:").startswith(("data:", "#")), attributes
    assert "default-src 'none'" in page.read_text()  # the browser refuses, whatever a file of a run may hold
    assert not re.search(r"@import|url\(", page.read_text())
    assert page.stat().st_size < 1_000_000


def test_page__shows_the_numbers_of_the_table(shown, study):
    document, _, _ = shown
    link = next(attributes["href"] for _, attributes in document.elements if attributes.get("id") == "csv")
    assert unquote(link.partition(",")[2]) == table_csv(study)
    records = list(csv.DictReader(io.StringIO(table_csv(study))))
    arms, comparisons = (document.tables[name][1:] for name in ("arms", "comparisons"))
    for cells, record in zip(arms, records, strict=True):
        name, n, mean, spread, parameters, macs, minutes = cells
        assert (name, n, parameters.replace(",", "")) == (record["arm"], record["n"], record["parameters"])
        assert float(mean) == pytest.approx(100 * float(record["mean"]), abs=0.00501)
        assert float(spread) == pytest.approx(100 * float(record["standard_deviation"]), abs=0.00501)
        assert float(macs) == pytest.approx(float(record["macs"]) / 1e6, abs=0.0501)
        assert float(minutes) == pytest.approx(float(record["minutes"]), abs=0.0501)
    for cells, record in zip(comparisons, records[1:], strict=True):
        found = [
            float(number)
            for number in re.findall(r"-?\d+(?:\.\d+)?", " ".join(cells[2:]).replace("\N{MINUS SIGN}", "-"))
        ]
        known = [100 * float(record[key]) for key in ("difference", "low", "high")]
        known += [float(record[key]) for key in ("t_p", "t_holm", "sign_flip_p", "sign_flip_holm")]
        assert found == pytest.approx(known, abs=0.00501)
        assert cells[-1] == ("underpowered" if record["underpowered"] == "True" else "")


@pytest.mark.parametrize("width", [390, 1280])
def test_page__fits_a_width(page, tmp_path, width):
    check = """
      for (const one of page.querySelectorAll("details")) one.open = true;
      const wide = [...page.querySelectorAll("body *")].filter((one) => !one.closest(".scroll, svg"));
      return [page.documentElement.scrollWidth, ...wide.map((one) => Math.floor(one.getBoundingClientRect().right))];
    """
    assert max(evaluated(page, tmp_path, check, width)) <= width


def test_page__hides_an_arm_and_tells_values_to_keys(page, study, tmp_path):
    check = """
      const chart = page.querySelector("[data-chart]");
      const all = [...page.querySelectorAll("path.line[data-arm]")];
      const lines = () => all.map((one) => view.getComputedStyle(one).display);
      const before = lines();
      page.querySelector("[data-toggle='1']").click();
      chart.focus();
      chart.dispatchEvent(new view.KeyboardEvent("keydown", { key: "ArrowLeft" }));
      const rows = [...page.querySelectorAll(".tip tr")].map((row) => [...row.cells].map((cell) => cell.textContent));
      return { before, after: lines(), rows, step: page.querySelector(".tip caption").textContent };
    """
    result = evaluated(page, tmp_path, check)
    assert set(result["before"]) == {"inline"}
    assert result["after"] == ["inline", "none", "inline", "inline"] * 3
    assert [row[0] for row in result["rows"]] == ["co_bias=false", "co_bias=second", "co_bias=true"]
    files = study.glob("co_bias-false__*/metrics.csv")
    rows = [[row for row in csv.DictReader(file.open()) if row["val/top1"]] for file in files]
    scores = [100 * float(found[-2]["val/top1"]) for found in rows]  # one step back from the last
    assert len(scores) == len(SEEDS)
    assert result["step"] == f"step {rows[0][-2]['step']}"
    assert float(result["rows"][0][1]) == pytest.approx(fmean(scores), abs=0.01)
    assert result["rows"][0][2] == f"{min(scores):#.4g} to {max(scores):#.4g}"


def test_page__takes_names_for_text(tmp_path):
    study = write_study(tmp_path / "study", key="block", gain={"qib": 0.0, HOSTILE: 0.01}, seeds=range(2))
    out = tmp_path / "page.html"
    figures = tmp_path / "figures"
    figures.mkdir()
    with (figures / "a.csv").open("w", newline="") as file:
        csv.writer(file).writerows([["block"], [HOSTILE]])
    (figures / "<i>.svg").write_text('<svg xmlns="http://www.w3.org/2000/svg"><script>document.title=3</script></svg>')
    main([str(study), "--out", str(out), "--title", HOSTILE, "--question", HOSTILE, "--figures", str(figures)])
    source, console = opened(out, tmp_path)
    document = Document(source)
    assert console == []
    assert not [attributes for _, attributes in document.elements if "onerror" in attributes]
    assert len([tag for tag, _ in document.elements if tag == "script"]) == 2
    assert "i" not in {tag for tag, _ in document.elements}
    assert [row[0] for row in document.tables["arms"][1:]] == ["block=qib", f"block={HOSTILE}"]
    assert evaluated(out, tmp_path, "return page.title") == HOSTILE


def test_page__lets_no_script_run_but_its_own(page, tmp_path):
    planted = tmp_path / "page.html"
    planted.write_text(page.read_text().replace("<main>", "<main><script>document.title = 'planted'</script>"))
    assert evaluated(planted, tmp_path, "return page.title") == "Co-Bias"
    assert "Content Security Policy" in " ".join(opened(planted, tmp_path)[1])


def test_page__says_what_seeds_allow(study, tmp_path):
    out = tmp_path / "page.html"
    main([str(study), "--out", str(out)])
    assert "Too few seeds" in out.read_text()  # six seeds and three rows
    strong = write_study(tmp_path / "strong", gain={"false": 0.0, "first": 0.0, "true": 0.05}, seeds=range(8))
    main([str(strong), "--out", str(out)])
    text = out.read_text()
    assert "1 of 2 comparisons shows a difference at the 0.05 level" in text
    assert re.search(r'class="verdict shown">higher</span> co_bias=true', text)
    assert re.search(r'class="verdict none">no difference shown</span> co_bias=first', text)


def test_page__answers_a_mistake(study, tmp_path):
    with pytest.raises(UsageError, match="--figures"):
        main([str(study), "--out", str(tmp_path / "page.html"), "--figures", str(tmp_path / "none")])
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(UsageError, match=r"broken\.png"):
        main([str(study), "--out", str(tmp_path / "page.html"), "--figures", str(tmp_path / "broken.png")])
    assert not (tmp_path / "page.html").exists()
