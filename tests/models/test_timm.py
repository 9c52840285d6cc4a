"""Networks of timm keep the contract of our backbone: sizes, strides, gradients, names; and every mistake one line."""

import sys
from functools import cache, partial
from pathlib import Path

import pytest
import timm
import torch
from omegaconf import OmegaConf
from torch import nn

from dotcom.errors import CONF
from dotcom.models.classifier import Classifier
from dotcom.models.segmenter import Segmenter
from dotcom.models.timm import TimmBackbone
from dotcom.models.weights import load_weights

# millions of parameters in the README of the original, None where it names none
SIZES = {
    "mobilevit_xxs": 1.3,
    "mobilevit_xs": 2.3,
    "mobilevit_s": 5.6,
    "mobilenetv2_100": 3.5,  # claimed 2.6, which is its three-quarter width, as are the 69.8 % top-1 beside it
    "efficientnet_b0": 5.3,
    "shvit_s1": 6.3,
    "shvit_s2": 11.4,
    "shvit_s3": 14.2,
    "shvit_s4": 16.5,
    "fastvit_t8": 4.0,  # the paper's 3.6, 6.8, 8.8 and 10.9 are of a narrower end; folded: 4.00 ... 11.55
    "fastvit_t12": 7.5,
    "fastvit_s12": 9.4,
    "fastvit_sa12": 11.5,
    "repvit_m0_9": 5.1,
    "repvit_m1_0": 6.8,
    "repvit_m1_1": 8.2,
    "repvit_m1_5": 14.1,  # claimed 14.0, folded likewise
    "deit_tiny_patch16_224": 5.7,
    "crossvit_tiny_240": 7.0,  # claimed 6.9
    "crossvit_9_240": None,
    "crossvit_small_240": None,
    "resnet101.tv_in1k": None,
}
FLAT = [name for name in SIZES if name.startswith(("deit", "crossvit"))]
PYRAMIDS = [name for name in SIZES if name not in FLAT]


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_named_configs__are_the_peers_tested_here():
    files = [OmegaConf.load(file) for file in (CONF / "model").glob("*.yaml")]
    assert {file.name for file in files if "timm" in file.get("defaults", [])} == set(SIZES)


@cache
def on_meta(name: str, pyramid: bool) -> TimmBackbone:
    """Shapes only, for tests that change nothing."""
    with torch.device("meta"):
        return TimmBackbone(name, pyramid)


@pytest.mark.parametrize("name", SIZES)
def test_params__are_those_of_the_published_network(name):
    with torch.device("meta"):
        ours = Classifier(on_meta(name, pyramid=False), num_classes=1000)
        theirs = timm.create_model(name)
    second_head = sum(count(m) for n, m in theirs.named_modules() if n == "head.head_dist.l")  # RepViT, distillation
    second_bias = 1000 if name.startswith("crossvit") else 0  # one layer over both embeddings
    assert count(ours) == count(theirs) - second_head - second_bias
    claimed = SIZES[name]
    assert claimed is None or abs(count(ours) / 1e6 - claimed) < 0.1


@pytest.mark.parametrize("name", SIZES)
def test_embedding__is_one_map_of_the_promised_width(name):
    backbone = on_meta(name, pyramid=False)
    (embedding,) = backbone(torch.empty(2, 3, *(backbone.fixed_size or (64, 64)), device="meta"))
    assert embedding.shape == (2, *backbone.channels, 1, 1)


@pytest.mark.parametrize("name", PYRAMIDS)
def test_forward__returns_the_promised_pyramid(name):
    backbone = on_meta(name, pyramid=True)
    maps = backbone(torch.empty(2, 3, 64, 96, device="meta"))
    assert backbone.strides == ((16, 32) if "shvit" in name else (4, 8, 16, 32))
    assert [tuple(m.shape) for m in maps] == [
        (2, c, 64 // s, 96 // s) for c, s in zip(backbone.channels, backbone.strides, strict=True)
    ]


@pytest.mark.parametrize("name", PYRAMIDS)
def test_names__agree_between_classifier_and_detector(name):
    whole = {n: p.shape for n, p in on_meta(name, pyramid=False).state_dict().items()}
    assert {n: p.shape for n, p in on_meta(name, pyramid=True).state_dict().items()}.items() <= whole.items()


@pytest.mark.parametrize("name", ["repvit_m0_9", "mobilenetv2_100", "mobilevit_xxs", "fastvit_t8", "shvit_s1"])
@torch.no_grad()
def test_keep__leaves_the_first_maps_as_they_were(name):
    images = torch.rand(1, 3, 64, 64)
    backbone = TimmBackbone(name).eval()
    before, params = backbone(images), count(backbone)
    for stages in range(len(before), 0, -1):
        after = backbone.keep(stages)(images)
        assert len(after) == len(backbone.channels) == len(backbone.strides) == stages
        assert all(torch.equal(a, b) for a, b in zip(after, before, strict=False))
    assert count(backbone) < params
    with pytest.raises(ValueError, match="1 to 1, got 2"):
        backbone.keep(2)


@pytest.mark.parametrize("stages", [3, 4])
@pytest.mark.parametrize("name", ["repvit_m1_0", "mobilenetv2_100", "mobilevit_xxs"])
def test_backward__reaches_every_parameter_of_a_pyramid(name, stages):
    backbone = TimmBackbone(name).keep(stages)
    maps = backbone(torch.rand(2, 3, 64, 64))
    sum(m.sum() for m, s in zip(maps, backbone.strides, strict=True) if s >= 16).backward()
    assert [name for name, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", ["repvit_m0_9", "mobilenetv2_100", "mobilevit_xxs", "fastvit_t8"])
def test_classifier__reaches_every_parameter_and_is_steady_in_evaluation(name):
    network = Classifier(TimmBackbone(name, pyramid=False), num_classes=3)
    images = torch.rand(2, 3, 64, 64)
    network(images).square().sum().backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
    with torch.no_grad():
        both = network.eval()(images)
        torch.testing.assert_close(network(images[:1]), both[:1])
    assert both.isfinite().all()


def test_checkpoint__of_a_classifier_starts_a_detector(tmp_path: Path):
    classifier = Classifier(TimmBackbone("mobilenetv2_100", pyramid=False), num_classes=3)
    torch.save({"state_dict": {f"model.{n}": p for n, p in classifier.state_dict().items()}}, tmp_path / "best.ckpt")
    detector = nn.ModuleDict({"backbone": TimmBackbone("mobilenetv2_100")})
    load_weights(detector, tmp_path / "best.ckpt")
    trained = dict(classifier.named_parameters())
    assert all(torch.equal(p, trained[n]) for n, p in detector.named_parameters())


@pytest.mark.parametrize(
    ("name", "stride"),
    [("mobilenetv2_100", 16), ("mobilevit_xxs", 16), ("resnet18", 16), ("repvit_m0_9", 32), ("botnet26t_256", 32)],
)
@torch.no_grad()
def test_dilate__gives_the_last_map_stride_16_where_it_can(name, stride):
    backbone = TimmBackbone(name).eval()
    weights, images = backbone.state_dict(), torch.rand(1, 3, *(backbone.fixed_size or (64, 64)))
    before, maps = backbone(images), backbone.dilate()(images)
    assert backbone.strides == (4, 8, 16, stride)
    assert maps[-1].shape == (1, backbone.channels[-1], images.shape[-2] // stride, images.shape[-1] // stride)
    assert all(torch.equal(a, b) for a, b in zip(maps[:3], before[:3], strict=True))
    assert all(torch.equal(value, weights[n]) for n, value in backbone.state_dict().items())
    assert not backbone.network.training


def test_image_size__is_passed_to_networks_made_for_one_size():
    with torch.device("meta"):
        backbone = TimmBackbone("deit_tiny_patch16_224", pyramid=False, image_size=96)
        assert backbone(torch.empty(1, 3, 96, 96))[0].shape == (1, 192, 1, 1)
        with pytest.raises(ValueError, match=r"expected images of 96x96, got 224x224; set image_size"):
            backbone(torch.empty(1, 3, 224, 224))
        with pytest.raises(ValueError, match=r"expected images of 240x240, got 224x224; set image_size"):
            on_meta("crossvit_tiny_240", pyramid=False)(torch.empty(1, 3, 224, 224))


def test_segmenter__refuses_networks_made_for_one_size():
    with torch.device("meta"):
        backbone = TimmBackbone("swin_tiny_patch4_window7_224", image_size=256)
        with pytest.raises(ValueError, match="takes 256x256 images only; a segmenter meets any size"):
            Segmenter(backbone, num_classes=2)


def test_forward__names_a_size_it_cannot_take():
    with pytest.raises(ValueError, match=r"multiples of 32, got 100x64"):
        TimmBackbone("test_resnet")(torch.rand(1, 3, 100, 64))


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("repvit_m10", "; did you mean repvit_m1_0?"),
        ("deit_tiny", "; did you mean deit_tiny_patch16_224?"),
        ("resnet101.tv_in2k", "; did you mean resnet101.tv_in1k?"),
        ("qqqq", "; timm.list_models() lists them"),
        (None, "; timm.list_models() lists them"),
    ],
)
def test_name__that_timm_lacks_brings_the_nearest(name, hint):
    with pytest.raises(ValueError, match="timm has no such model") as error:
        TimmBackbone(name)
    assert str(error.value) == f"name={name or 'null'}: timm has no such model{hint}"


@pytest.mark.parametrize("name", FLAT)
def test_pyramid__is_refused_where_there_is_none(name):
    with torch.device("meta"), pytest.raises(ValueError, match=f"name={name}: it has no feature pyramid; expected "):
        TimmBackbone(name)


def test_timm__when_missing_is_a_line_with_the_command(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match=r"^model=timm needs timm: pip install 'dotcom\[timm\]'$"):
        TimmBackbone("resnet18")


@pytest.fixture
def weights(monkeypatch, tmp_path: Path) -> Path:
    """The file that timm takes for the published weights of every network."""
    overlay = {"file": str(tmp_path / "weights.pth")}
    monkeypatch.setattr(timm, "create_model", partial(timm.create_model, pretrained_cfg_overlay=overlay))
    return tmp_path / "weights.pth"


@pytest.mark.parametrize("pyramid", [True, False])
def test_pretrained__starts_from_the_weights_of_timm(pyramid, weights):
    published = timm.create_model("test_resnet").state_dict()
    torch.save(published, weights)
    ours = TimmBackbone("test_resnet", pyramid, pretrained=True).network.state_dict()
    assert ours.keys() <= published.keys()
    assert all(torch.equal(value, published[name]) for name, value in ours.items())


def test_pretrained__that_does_not_fit_is_one_line(weights):
    torch.save({"layer1.0.conv1.weight": torch.zeros(1)}, weights)
    with pytest.raises(ValueError, match=r"^weights=timm: those of test_resnet could not be loaded \(.*\); check .*$"):
        TimmBackbone("test_resnet", pretrained=True)


def test_pretrained__without_a_connection_is_one_line(monkeypatch):
    def unreachable(*_: object, **__: object) -> None:
        raise FileNotFoundError("not in the cache") from ConnectionError("Name or service\nnot known")

    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", unreachable)
    expected = r"weights=timm: those of test_resnet could not be downloaded \(Name or service not known\); check"
    with pytest.raises(ValueError, match=expected):
        TimmBackbone("test_resnet", pretrained=True)


def test_pretrained__where_timm_has_none_says_so():
    with pytest.raises(ValueError, match="weights=timm: timm has no weights for dpn48b; expected another name"):
        TimmBackbone("dpn48b", pretrained=True)
