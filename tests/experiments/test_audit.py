"""The audit finds what is dead, for whatever reason it is, and nothing that lives."""

import csv
from dataclasses import replace

import pytest
import torch
from experiments.audit import MODELS, main, owned
from experiments.dead_parameters import audit
from torch import Tensor, nn

from dotcom.errors import UsageError
from dotcom.models import Classifier, Detector, DoTCoM, DoTCoMConfig


class Planted(nn.Module):
    """A network with one parameter of every kind; dropout and a tuple of outputs should not confuse the audit."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1)  # the biases of both are subtracted again
        self.norms = nn.ModuleList([nn.BatchNorm2d(4), nn.BatchNorm2d(4)])
        self.dropout = nn.Dropout(0.5)
        self.never_used, self.times_zero, self.detached, self.frozen, self.clipped = (
            nn.Parameter(torch.ones(4)) for _ in range(5)
        )
        self.frozen.requires_grad_(False)
        self.clipped.data.fill_(-9.0)

    def forward(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.dropout(self.norms[0](self.first(images)).relu())
        x = self.norms[1](self.second(x)).tanh().mean((2, 3))
        x = x + 0 * self.times_zero + self.detached.detach() + self.frozen
        return x, {"clipped": (x + self.clipped).relu()}


def test_audit__finds_planted_dead_parameters_and_no_other():
    torch.manual_seed(0)
    images = torch.rand(6, 3, 8, 8)
    found = audit(Planted(), images, lambda out: (out[0] ** 2).sum() + out[1]["clipped"].sum())
    verdicts = {finding.name: finding.verdict for finding in found}
    living = {name for name, verdict in verdicts.items() if verdict == "has an effect"}
    assert living == {"first.weight", "second.weight", *(f"norms.{i}.{p}" for i in (0, 1) for p in ("weight", "bias"))}
    assert {name: verdict for name, verdict in verdicts.items() if name not in living} == {
        "first.bias": "no effect, removable",
        "second.bias": "no effect, removable",
        "never_used": "unused, removable",
        "times_zero": "no effect, removable",
        "detached": "fixed: changes the output, never learns",
        "frozen": "fixed: changes the output, never learns",
        "clipped": "no gradient: changes the output, does not learn here",
    }


def test_audit__knows_that_only_old_statistics_make_a_difference():
    images = torch.rand(6, 3, 8, 8)
    (bias,) = audit(Planted(), images, lambda out: (out[0] ** 2).sum(), names=["second.bias"])
    assert max(bias.training, bias.evaluation, bias.share) < 1e-12
    assert bias.outdated > 0.1


def test_audit__takes_a_network_that_fails_under_other_values_for_a_living_one():
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inside = nn.Parameter(torch.zeros(8))

        def forward(self, x: Tensor) -> Tensor:
            return x + self.inside.detach().sqrt()  # NaN below 0

    (found,) = audit(Root(), torch.rand(2, 8), lambda out: out.sum())
    assert found.verdict == "fixed: changes the output, never learns"


def test_audit__leaves_the_network_as_it_was(classifier: Classifier):
    before = {name: value.clone() for name, value in classifier.eval().state_dict().items()}
    list(audit(classifier, torch.rand(2, 3, 64, 64), lambda out: out.sum(), names=["head.bias"]))
    assert all(torch.equal(value, before[name]) for name, value in classifier.state_dict().items())
    assert not classifier.training
    assert classifier.head.weight.dtype == torch.float32


def test_audit__reads_the_outputs_of_a_detector(config: DoTCoMConfig):
    detector = Detector(DoTCoM(replace(config, co_bias="second")), 3, extra_channels=[8])
    names = [name for name, _ in detector.named_parameters() if ".bias_out." in name]
    found = audit(detector, torch.rand(4, 3, 64, 64), lambda out: out["cls_logits"].square().sum(), names)
    assert {finding.verdict for finding in found} == {"no effect, removable"}


@pytest.mark.parametrize("arm", ["first", "second", True])
def test_owned__are_the_co_biases_of_the_arm(arm):
    places = {"first": {"bias_in"}, "second": {"bias_out"}, True: {"bias_in", "bias_out"}}[arm]
    names = owned("tiny", "co_bias", arm)
    assert len(names) == 3 * len(places)
    assert {name.split(".")[-2] for name in names} == places


def test_owned__by_a_block_kind_are_those_of_the_eight_blocks():
    names = owned("tiny", "block", "qib")
    positions = ["stages.0.", "stages.1.0.", "stages.1.1.", "stages.2."]
    eight = {f"backbone.{position}{i}." for position in positions for i in (0, 1)}
    assert {next((block for block in eight if name.startswith(block)), name) for name in names} == eight


def test_co_bias__the_second_has_no_effect_in_all_four_sizes_and_the_first_has(tmp_path, capsys):
    main(["--image-size", "32", "--out", str(tmp_path)])
    said = capsys.readouterr().out
    for model in MODELS:
        assert f"{model} co_bias=true, bias_out: no effect, removable (3 parameters" in said
        assert f"{model} co_bias=true, bias_in: has an effect (3 parameters" in said
    rows = list(csv.DictReader((tmp_path / "audit.csv").open()))
    assert len(rows) == 24
    assert all((float(row["share"]) < 1e-12) == ("bias_out" in row["parameter"]) for row in rows)
    markdown = (tmp_path / "audit.md").read_text()
    assert markdown.count("| no effect, removable |") == 12
    assert said.splitlines()[0].strip() in markdown
    assert {path.name for path in tmp_path.iterdir()} == {"audit.csv", "audit.md"}


def test_block__of_mv2_has_biases_that_the_next_norm_subtracts(config: DoTCoMConfig):
    network = Classifier(DoTCoM(replace(config, block="mv2", co_bias=False)), 3)
    names = [f"backbone.stages.{place}.layers.2.1.bias" for place in ("0.0", "0.1", "2.1")]
    found = audit(network, torch.rand(4, 3, 64, 64), lambda out: out.square().sum(), names)
    verdicts = [finding.verdict for finding in found]
    assert verdicts == ["no effect, removable", "no effect, removable", "has an effect"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "dotcom_tny"], "--model dotcom_tny: expected dotcom_tiny | .*; did you mean dotcom_tiny?"),
        (["--switch", "co_bias=frst"], "--switch co_bias=frst: expected co_bias=true | false | first | second"),
        (["--switch", "cobias=true"], "--switch cobias=true: expected co_bias | block; did you mean co_bias?"),
        (["--switch", "co_bias=false"], "--switch co_bias=false: this arm has no parameters of its own"),
    ],
)
def test_mistake__is_named_with_what_was_expected(arguments, said):
    with pytest.raises(UsageError, match=said.replace("|", r"\|").replace("?", r"\?")):
        main(arguments)
