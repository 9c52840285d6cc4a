"""The bench measures in turns, knows a busy machine from a quiet one, and fails only where it may."""

import argparse
import json

import pytest

from dotcom.bench import floors, run, sections
from dotcom.bench.__main__ import main
from dotcom.bench.floors import Floor, exactly, faster
from dotcom.bench.report import as_plain, cells
from dotcom.bench.row import Row, skipped
from dotcom.bench.watch import Times, Watch
from dotcom.benchmark.statistics import Ratio


class Machine:
    """A clock that moves only when work is done, and a load."""

    def __init__(self, load: float = 0.5) -> None:
        self.now, self.load, self.slowness = 0.0, load, 1.0
        self.done: list[str] = []

    def work(self, name: str, seconds: float):
        def call() -> None:
            self.done.append(name)
            self.now += seconds * self.slowness

        return call

    def watch(self) -> Watch:
        canary = self.work("canary", 0.01)
        return Watch("quick", lambda: self.now, canary, lambda: self.load, cores=2)


@pytest.fixture
def machine() -> Machine:
    return Machine()


def order(done: list[str]) -> str:
    """Who worked, without repetitions."""
    return "".join(name for name, before in zip(done, ["", *done], strict=False) if name != before)


def test_turns__go_there_and_back_with_canaries_before_between_and_after(machine):
    variants = {name: machine.work(name, 2.0) for name in "ABC"}
    machine.watch().turns(variants, "made up", rounds=3)
    canary = "canary"
    assert order(machine.done) == f"{canary}ABC{canary}ABC{canary}CBA{canary}ABC{canary}"


def test_turns__give_milliseconds_of_a_call(machine):
    times = machine.watch().turns({"slow": machine.work("slow", 0.06), "fast": machine.work("fast", 0.02)}, "made up")
    assert (times.ms("slow"), times.ms("fast")) == pytest.approx((60, 20))
    assert times.ratio("slow", "fast").median == pytest.approx(3)
    assert len(times.rounds["slow"]) == 7


def test_ratio__is_paired_by_round():
    times = Times({"slow": [10.0, 20.0, 1000.0], "fast": [5.0, 10.0, 500.0]})
    assert times.ratio("slow", "fast") == Ratio(2.0, 2.0, 2.0)


def test_contention__is_a_canary_that_drifts(machine):
    watch = machine.watch()
    watch.start()
    machine.slowness = 1.2
    watch.beat()
    watch.beat()
    assert watch.contended()
    watch.start()
    watch.beat()
    assert not watch.contended()
    assert watch.contended(0)


def test_contention__is_more_load_than_cores(machine):
    machine.load = 2.0
    watch = machine.watch()
    watch.start()
    assert not watch.contended()
    machine.load = 2.1
    watch.beat()
    assert watch.contended()


def test_canary__forgives_one_interrupt(machine):
    watch = machine.watch()
    steady, calls = watch.work, []

    def interrupted() -> None:
        calls.append(1)
        steady()
        machine.now += 1.0 if len(calls) == 2 else 0.0

    watch.work = interrupted
    watch.beat()
    watch.beat()
    assert watch.drift() == pytest.approx(0)


def test_floor__on_what_is_counted_is_judged_on_a_busy_machine():
    row = Row("infer", "made up", difference=2e-6, ratio=Ratio(1.0, 1.0, 1.0), contended=True)
    assert exactly("difference", 1e-6).judge(row) == "missed"
    assert faster(1.5).judge(row) == "not judged"
    assert faster(1.0).judge(row) == "holds"
    assert Floor("value", 2.0, at_least=False).judge(Row("train", "x", 2.0)) == "holds"


def test_floor__without_its_number_is_missed():
    assert faster(1.5).judge(Row("infer", "made up", 3.0, contended=True)) == "missed"


def asked(**changes) -> argparse.Namespace:
    return argparse.Namespace(**{"effort": "quick", "only": "infer", "json": None, "check": True} | changes)


@pytest.fixture
def made_up(monkeypatch, machine):
    """Runs the bench with one made-up section, whose ratios are given, one per call."""

    def go(*ratios: float, load: float = 0.5, **changes) -> int:
        left = list(ratios)

        def rows(effort, watch):
            watch.turns({"A": machine.work("A", 2.0)}, "made up", rounds=1)
            ratio = left.pop(0)
            yield Row("infer", "made up", 10.0, ratio=Ratio(ratio, ratio, ratio), difference=1e-7, facts=("a fact",))
            yield skipped("infer", "absent", "there is no such thing here")

        machine.load = load
        monkeypatch.setattr(sections, "section", lambda name: rows)
        monkeypatch.setitem(floors.FLOORS, ("infer", "made up"), (faster(1.5),))
        code = run.run(asked(**changes), machine.watch())
        assert left == []
        return code

    return go


def test_check__passes_what_holds(made_up, capsys):
    assert made_up(1.6) == 0
    said = capsys.readouterr().out
    assert "every floor that was measured holds" in said
    assert "no latency advantage over peers is claimed: Spearman's rho" in said


def test_check__fails_what_is_missed_on_a_quiet_machine(made_up, capsys):
    assert made_up(1.4) == 1
    assert "a floor is missed" in capsys.readouterr().out


def test_check__tries_again_on_a_busy_machine_and_then_does_not_judge(made_up, capsys):
    assert made_up(1.4, 1.4, load=5.0) == 0
    said = capsys.readouterr().out
    assert "once more infer" in said
    assert "CONTENDED" in said
    assert "not judged" in said


def test_check__takes_the_second_try(made_up):
    assert made_up(1.4, 1.6, load=5.0) == 0


def test_without_check__a_missed_floor_is_said_only(made_up, capsys):
    assert made_up(1.4, check=False) == 0
    assert "a floor is missed" in capsys.readouterr().out


def test_json__has_machine_canary_rows_and_floors(made_up, tmp_path):
    file = tmp_path / "bench.json"
    made_up(1.6, json=file)
    content = json.loads(file.read_text())
    assert {"CPU", "instructions", "torch", "commit", "onnxruntime"} <= set(content["machine"])
    assert content["effort"] == "quick"
    assert content["contended"] is False
    assert content["canary_ms"] == pytest.approx([10.0] * len(content["canary_ms"]))
    assert len(content["load"]) == len(content["canary_ms"])
    row, absent = content["rows"]
    assert row["ratio"] == {"median": 1.6, "low": 1.6, "high": 1.6}
    assert (row["value"], row["difference"], row["facts"]) == (10.0, 1e-7, ["a fact"])
    assert row["floors"] == [{"floor": "ratio >= 1.5", "verdict": "holds"}]
    assert absent["skipped"] == "there is no such thing here"


def test_json__without_its_folder_is_refused_before_anything_is_measured(tmp_path, capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--json", str(tmp_path / "no" / "bench.json")])
    assert stopped.value.code == 2
    assert "there is no folder" in capsys.readouterr().err


def test_line__says_speed_and_equality_side_by_side():
    row = Row("eval", "ssd", 12.34, ratio=Ratio(3.2, 3.1, 3.4), difference="identical", contended=True)
    assert cells(as_plain(row)) == ["eval", "ssd", "12.3 ms", "3.20", "3.10 to 3.40", "identical", "", "CONTENDED"]


def test_only__names_a_wrong_section(capsys):
    with pytest.raises(SystemExit) as stopped:
        main(["--only", "infre"])
    assert stopped.value.code == 2
    assert "--only=infre: expected some of infer, export" in capsys.readouterr().err


def test_sections__come_in_their_own_order():
    assert sections.chosen("eval,infer") == ("infer", "eval")
    assert sections.chosen(None) == sections.SECTIONS
    with pytest.raises(ValueError, match="did you mean export"):
        sections.chosen("exprt")


def test_section__that_is_absent_says_so(monkeypatch):
    monkeypatch.setitem(sections.MODULES, "gpu", "nowhere")
    (row,) = sections.section("gpu")("quick", Machine().watch())
    assert row.skipped
