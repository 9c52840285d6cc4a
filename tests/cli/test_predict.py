"""What predict says is what validation measures; no picture, however strange, and no broken one stops it."""

import io
import json
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dotcom.annotations.images import MAX_PIXELS, read_picture
from dotcom.cli import main
from dotcom.data.checkpoint import data_of
from dotcom.data.preflight import read_image
from dotcom.errors import UsageError
from dotcom.inference.pictures import find_pictures
from dotcom.inference.predictor import Predictor
from dotcom.models import from_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")

TASKS = ("classification", "detection", "segmentation")
RED, BLUE = (200, 30, 20), (20, 30, 200)


def two_colours(width: int = 60, height: int = 40) -> Image.Image:
    """Red above, blue below, with noise."""
    pixels = np.array([RED, BLUE])[np.arange(height) * 2 // height][:, None].repeat(width, axis=1)
    noise = np.random.default_rng(0).integers(-9, 10, pixels.shape)
    return Image.fromarray((pixels + noise).astype(np.uint8))


@pytest.fixture(scope="module")
def strange(tmp_path_factory) -> Path:
    """Pictures of every kind; all but the sizes in their names are 60x40 once upright."""
    folder, picture = tmp_path_factory.mktemp("strange"), two_colours()
    deep = np.asarray(picture.convert("L")).astype(np.uint16) * 257
    for name in ("a.bmp", "a.gif", "a.jpg", "a.png", "a.ppm", "a.tiff", "a.webp"):
        picture.save(folder / name)
    for name in ("deep.png", "deep.tif"):
        Image.fromarray(deep).save(folder / name)
    for name, mode in (("cmyk.jpg", "CMYK"), ("cmyk.tif", "CMYK"), ("grey.jpg", "L"), ("grey.png", "LA")):
        picture.convert(mode).save(folder / name)
    for name, mode in (("alpha.png", "RGBA"), ("alpha.webp", "RGBA"), ("bits.png", "1")):
        picture.convert(mode).save(folder / name)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in np.asarray(picture).astype(np.uint16) * 257)
    (folder / "deep_colour.png").write_bytes(png((60, 40), 16, rows))
    picture.quantize(16).save(folder / "palette.png", transparency=3)
    turned = Image.Exif()
    turned[0x112] = 6  # turn by 90 degrees to the right
    for name in ("turned.jpg", "turned.png", "turned.webp"):
        picture.transpose(Image.Transpose.ROTATE_90).save(folder / name, exif=turned)
    picture.convert("L").transpose(Image.Transpose.ROTATE_90).save(folder / "grey_turned.tif", tiffinfo={0x112: 6})
    picture.save(folder / "frames.gif", save_all=True, append_images=[picture.rotate(180)])
    Image.new("RGB", (1, 1), RED).save(folder / "1x1.png")
    two_colours(12_000, 30).save(folder / "12000x30.jpg")
    Image.new("RGB", (3, 2000), BLUE).save(folder / "3x2000.png")
    return folder


@pytest.fixture
def broken(tmp_path) -> dict[str, str]:
    """Files that are called pictures and cannot be read, and a word of what is said about each."""
    picture = two_colours(300, 300)
    for name in ("cut.jpg", "cut.png", "cut.webp"):
        picture.save(tmp_path / name)
        content = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.png").write_text("no picture")
    (tmp_path / "program.jpg").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(x) print\n")
    for name, side in (("bomb.png", 100_000), ("large.png", 13_000)):
        (tmp_path / name).write_bytes(png((side, side), 8, b""))
    Image.fromarray(np.random.default_rng(0).random((5, 5), dtype=np.float32)).save(tmp_path / "float.tif")
    reasons = dict.fromkeys(("cut.jpg", "cut.png", "cut.webp"), "")
    return reasons | {
        "empty.jpg": "no picture",
        "text.png": "expected JPEG, PNG",
        "program.jpg": "no picture",
        "bomb.png": "far too many pixels; expected at most 150 million",
        "large.png": "it has 13000x13000 pixels; expected at most 150 million",
        "float.tif": "floating point",
    }


def png(size: tuple[int, int], bits: int, rows: bytes) -> bytes:
    """A colour PNG that says it has this size, whatever its rows are."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", *size, bits, 2, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


def validation(path: Path):
    """The data module's own val batches through the network: (files, images, outputs, targets)."""
    config = torch.load(path, weights_only=True)["config"]
    data = data_of(config, num_workers=0, val_batch_size=1)
    data.setup("validate")
    network = from_checkpoint(path)
    with torch.inference_mode():
        for file, batch in zip(data.datasets["val"].paths, data.val_dataloader(), strict=True):
            images, targets = data.on_after_batch_transfer(batch, 0)
            yield file, images, network, targets


def test_classes__are_those_of_validation(checkpoints, answers):
    path = checkpoints("classification")
    rows, _ = answers("predict", path, path.parent / "photos" / "val", "--batch-size", 3)
    assert len(rows) == 4
    for row, (file, images, network, _) in zip(rows, validation(path), strict=True):
        probabilities = network(images).softmax(dim=1)[0]
        assert (row["path"], row["width"], row["height"]) == (str(file), 120, 90)
        names = [guess["class"] for guess in row["top"]]
        assert names == [["dark", "light"][i] for i in probabilities.argsort(descending=True)]
        found = [guess["probability"] for guess in row["top"]]
        assert found == pytest.approx(sorted(probabilities.tolist(), reverse=True), abs=1e-5)


def test_boxes__are_those_of_validation_in_pixels_of_the_picture(checkpoints, answers):
    path = checkpoints("detection")
    rows, _ = answers("predict", path, path.parent / "coco" / "val", "--threshold", 0)
    for row, (file, images, network, targets) in zip(rows, validation(path), strict=True):
        (best,) = network.detect(network(images), images.shape[-2:])
        height, width = targets[0]["size"]
        assert (row["path"], row["width"], row["height"]) == (str(file), width, height)
        assert len(row["boxes"]) == len(best["boxes"]) > 0
        scale = torch.tensor([width, height, width, height]) / 64
        corners = torch.tensor([box["xyxy"] for box in row["boxes"]])
        torch.testing.assert_close(corners, best["boxes"] * scale, atol=1e-2, rtol=0)
        assert [box["score"] for box in row["boxes"]] == pytest.approx(best["scores"].tolist(), abs=1e-5)
        assert [box["class"] for box in row["boxes"]] == [["cat", "dog"][i] for i in best["labels"]]


def test_threshold__leaves_out_what_is_below(checkpoints, answers):
    path = checkpoints("detection")
    every, _ = answers("predict", path, path.parent / "coco" / "val", "--threshold", 0)
    scores = sorted(box["score"] for row in every for box in row["boxes"])
    middle = (scores[len(scores) // 2] + scores[len(scores) // 2 - 1]) / 2
    some, _ = answers("predict", path, path.parent / "coco" / "val", "--threshold", middle)
    assert sorted(box["score"] for row in some for box in row["boxes"]) == [
        score for score in scores if score >= middle
    ]


def test_masks__are_those_of_validation_as_files(checkpoints, answers, tmp_path):
    path = checkpoints("segmentation")
    rows, _ = answers("predict", path, path.parent / "masks" / "val" / "images", "--out", tmp_path)
    names = (tmp_path / "classes.txt").read_text().splitlines()
    for row, (_, images, network, targets) in zip(rows, validation(path), strict=True):
        with Image.open(tmp_path / row["mask"]) as file:
            mask = np.array(file)
        assert mask.shape == tuple(targets.shape[1:]) == (row["height"], row["width"])
        np.testing.assert_array_equal(mask, network.segment(images).argmax(dim=1)[0].numpy())
        assert row["shares"] == {names[value]: (mask == value).mean() for value in np.unique(mask)}


@pytest.mark.parametrize("task", TASKS)
def test_strange_pictures__are_predicted_upright(task, checkpoints, strange, answers, tmp_path):
    rows, said = answers("predict", checkpoints(task), strange, "--out", tmp_path)
    assert not said
    assert [Path(row["path"]) for row in rows] == sorted(strange.iterdir())
    for row in rows:
        stem = Path(row["path"]).stem
        size = (row["width"], row["height"])
        assert size == (tuple(map(int, stem.split("x"))) if stem[0].isdigit() else (60, 40))
        with Image.open(tmp_path / row["drawing"]) as drawing:
            assert 480 <= max(drawing.size) <= 2300


def test_picture__is_what_training_reads(strange):
    for path in sorted(strange.iterdir()):
        if path.suffix in (".jpg", ".png", ".webp", ".gif") and path.name != "turned.webp":  # which training leaves so
            found = torch.from_numpy(np.array(read_picture(path))).permute(2, 0, 1)
            torch.testing.assert_close(found, read_image(path), rtol=0, atol=0, msg=path.name)


def test_picture__of_every_kind_shows_the_same(strange):
    for path in sorted(strange.glob("[!0-9b]*")):  # all but those of other sizes, and black and white
        pixels = np.array(read_picture(path)).astype(float)
        grey = path.stem in ("deep", "grey", "grey_turned")
        for half, colour in ((pixels[:18], RED), (pixels[22:], BLUE)):
            wanted = [np.dot(colour, (0.299, 0.587, 0.114))] * 3 if grey else colour
            assert half.mean(axis=(0, 1)) == pytest.approx(wanted, abs=14), path.name


@pytest.mark.parametrize("task", TASKS)
def test_broken_pictures__are_named_at_the_end_and_the_rest_is_done(task, checkpoints, broken, answers, tmp_path):
    two_colours().save(tmp_path / "z.png")
    two_colours().save(tmp_path / "b.jpg")
    rows, said = answers("predict", checkpoints(task), tmp_path, "--batch-size", 4, code=1)
    assert [Path(row["path"]).name for row in rows] == ["b.jpg", "z.png"]
    first, *lines = said.splitlines()
    assert first == f"{len(broken)} of {len(broken) + 2} pictures could not be read:"
    assert len(lines) == len(broken)
    for line, name in zip(lines, sorted(broken), strict=True):
        assert line.startswith(f"  {tmp_path / name}: ")
        assert broken[name] in line


def test_files__of_one_name_in_two_folders_stay_apart(checkpoints, answers, tmp_path):
    for name in ("a/1.png", "a/1.jpg", "b/1.png", "b/c/1.png"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        two_colours().save(tmp_path / name)
    out = tmp_path / "out"
    rows, _ = answers("predict", checkpoints("classification"), tmp_path, "--out", out)
    assert {row["drawing"] for row in rows} == {
        f"drawings/{name}.jpg" for name in ("a/1.png", "a/1.jpg", "b/1.png", "b/c/1.png")
    }
    assert all((out / row["drawing"]).is_file() for row in rows)
    assert [json.loads(line) for line in (out / "predictions.jsonl").read_text().splitlines()] == rows
    again, _ = answers("predict", checkpoints("classification"), tmp_path, "--out", out)
    assert again == rows  # what was drawn is not taken for another picture


def test_pictures__are_found_once_and_sorted(tmp_path):
    for name in ("b.JPG", "a/z.png", "a/.hidden.png", ".git/x.png", "a/notes.txt", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "twin.png").symlink_to(tmp_path / "a" / "z.png")
    found = find_pictures([tmp_path / "c", tmp_path, tmp_path / "a", tmp_path / "a" / ".." / "b.JPG"])
    assert {path.resolve() for path in found} == {tmp_path / name for name in ("c", "b.JPG", "a/z.png")}
    assert len(found) == 3
    assert found == sorted(found)


def test_pattern__finds_pictures_and_one_without_any_is_named(tmp_path, monkeypatch):
    for name in ("b.JPG", "a/z.png", "a/.hidden.png", "a/notes.txt", "what[1].png", "c"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path)
    assert find_pictures([Path("*.JPG"), Path("a/*")]) == [Path("a/z.png"), Path("b.JPG")]
    assert find_pictures([Path("**")]) == [Path("a/z.png"), Path("b.JPG"), Path("what[1].png")]
    assert find_pictures([Path("what[1].png")]) == [Path("what[1].png")]  # a file of that name is no pattern
    with pytest.raises(UsageError, match=r"^a/\*\.gif: nothing matches; expected JPEG"):
        find_pictures([Path("a/*.gif")])
    with pytest.raises(UsageError, match=r"^a/\*\.txt: none of the 1 files that match is called as pictures are"):
        find_pictures([Path("a/*.txt")])


def test_standard_input__is_a_picture_or_paths(checkpoints, answers, refused, monkeypatch):
    path = checkpoints("classification")
    photo = path.parent / "photos" / "val" / "dark" / "0.jpg"

    def pipe(content: bytes) -> None:
        monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(content)))

    expected, _ = answers("predict", path, photo)
    pipe(f"{photo}\n".encode())
    assert answers("predict", path, "-") == (expected, "")
    pipe(photo.read_bytes())
    assert answers("predict", path, "-") == ([expected[0] | {"path": "-"}], "")
    for content, said in (
        (b"", "but 0 other bytes"),
        (b"\0\1\2", "-: neither a picture nor paths"),
        (b"gone\n", "gone: no"),
    ):
        pipe(content)
        assert said in refused("predict", path, "-")


def test_lines__are_readable_without_json(checkpoints, capsys):
    path = checkpoints("classification")
    assert main(["predict", str(path), str(path.parent / "photos" / "val" / "dark" / "0.jpg")]) == 0
    line = capsys.readouterr().out
    assert line.startswith(f"{path.parent}/photos/val/dark/0.jpg: ")
    assert line.count("%") == 2


def test_average__is_what_predicts(checkpoints):
    path = checkpoints("classification")
    saved = torch.load(path, weights_only=True)["state_dict"]
    network = Predictor(path, "cpu").network
    assert torch.equal(network.head.weight, saved["ema.module.head.weight"])
    assert not torch.equal(network.head.weight, saved["model.head.weight"])


def test_large_picture__is_segmented_shrunk_and_its_mask_enlarged(checkpoints, monkeypatch):
    predictor = Predictor(checkpoints("segmentation"), "cpu")
    assert predictor.prepare(Image.new("RGB", (1024, 1024))).image.shape == (3, 1024, 1024)
    assert predictor.prepare(Image.new("RGB", (1025, 1024))).image.shape == (3, 1023, 1024)
    monkeypatch.setattr("dotcom.inference.predictor.SEGMENTED", 2**14)
    prepared = predictor.prepare(Image.new("RGB", (4000, 1000)))
    assert prepared.image.shape[1] * prepared.image.shape[2] <= 2**14
    assert prepared.image.shape[2] / prepared.image.shape[1] == pytest.approx(4, rel=0.02)
    (mask,) = predictor([two_colours(1500, 900)])
    assert mask.classes.shape == (900, 1500)
    assert sum(share.share for share in mask.shares) == pytest.approx(1)


def test_strip__is_classified_by_its_middle(checkpoints):
    predictor = Predictor(checkpoints("classification"), "cpu")
    strip = Image.new("RGB", (12_000, 10), RED)
    strip.paste(BLUE, (5990, 0, 6010, 10))
    seen = predictor.prepare(strip).image
    assert seen.shape == (3, 64, 64)
    assert seen.float().mean(dim=(1, 2)).tolist() == pytest.approx(BLUE, abs=2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["{ckpt}", "{folder}/gone"], "gone: no such file or folder; expected pictures"),
        (["{ckpt}", "{folder}"], "no pictures there; expected JPEG, PNG"),
        (["{folder}/gone.ckpt", "{photos}"], "gone.ckpt: no such file; a run leaves best.ckpt"),
        (["{photo}", "{photos}"], "0.jpg: no PyTorch checkpoint"),
        (["{other}", "{photos}"], "other.pt: not a checkpoint of a dotcom run"),
        (["{ckpt}", "{photos}", "--batch-size", "0"], "--batch-size=0: expected a whole number above 0"),
        (["{ckpt}", "{photos}", "--threshold", "7"], "--threshold=7.0: expected a number from 0 to 1"),
        (["{ckpt}", "{photos}", "--out", "{photo}"], "0.jpg: a file; expected a folder"),
    ],
)
def test_mistake__is_one_line(arguments, said, checkpoints, refused, tmp_path):
    path = checkpoints("classification")
    photos = path.parent / "photos"
    torch.save({"state_dict": {}}, tmp_path / "other.pt")
    (tmp_path / "empty").mkdir()
    places = {"ckpt": path, "photos": photos, "photo": photos / "val" / "dark" / "0.jpg"}
    places |= {"folder": tmp_path / "empty", "other": tmp_path / "other.pt"}
    assert said in refused("predict", *(argument.format(**places) for argument in arguments))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_device__that_is_not_there_is_refused(checkpoints, refused):
    path = checkpoints("classification")
    assert "device=cuda: there is none" in refused("predict", path, path.parent / "photos", "--device", "cuda")


def test_drawings__of_an_earlier_call_in_the_same_folder_are_no_pictures(tmp_path):
    for name in ("a.png", "drawings/a.png.jpg", "masks/a.png.png", "inner/drawings/b.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"")
    assert find_pictures([tmp_path], without=tmp_path) == [tmp_path / "a.png", tmp_path / "inner/drawings/b.png"]


def test_weights__that_are_damaged_are_refused(checkpoints, refused, tmp_path):
    path = checkpoints("classification")
    saved = torch.load(path, weights_only=True)
    saved["state_dict"] = {name: value for name, value in saved["state_dict"].items() if "head" not in name}
    torch.save(saved, tmp_path / "less.ckpt")
    said = refused("predict", tmp_path / "less.ckpt", path.parent / "photos")
    assert "less.ckpt: its weights cannot be loaded" in said


def test_limit__can_be_lowered_and_the_picture_come_as_bytes():
    content = png((100, 90), 8, b"")
    with pytest.raises(UsageError, match=r"^upload: it has 100x90 pixels; expected at most 0\.008 million$"):
        read_picture(content, "upload", limit=8000)
    assert MAX_PIXELS >= 12_000 * 12_000  # a large camera's
