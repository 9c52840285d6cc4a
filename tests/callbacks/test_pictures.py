"""Pictures show what they say: boxes where they are in the original, masks in colours that a legend explains."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import wandb
from lightning.pytorch.loggers import WandbLogger
from matplotlib.colors import to_rgb

from dotcom.callbacks import BoxGrid, MaskGrid, PredictionGrid
from dotcom.callbacks.pictures import palette

CLASSES = ["bag", "coat", "hat"]
DATA = SimpleNamespace(mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2), classes=CLASSES)


def trainer(fn: str = "validate", loggers: tuple = ()) -> SimpleNamespace:
    state = SimpleNamespace(fn=fn)
    return SimpleNamespace(
        is_global_zero=True, sanity_checking=False, datamodule=DATA, state=state, loggers=loggers, global_step=7
    )


def test_grid__keeps_the_first_images_with_truth_and_prediction(tmp_path):
    grid = PredictionGrid(str(tmp_path), images=3)
    logits = torch.tensor([[9.0, 0.0], [0.0, 9.0]])
    for level in (0.0, 1.0):
        batch = torch.full((2, 3, 8, 8), level), torch.tensor([0, 0])
        grid.on_validation_batch_end(trainer(), None, logits, batch, 0)
    assert [(int(true), int(output.argmax())) for _, true, output in grid.seen] == [(0, 0), (0, 1), (0, 0)]
    shades = [image.mean().item() for image, _, _ in grid.seen]
    assert shades == pytest.approx([0.5, 0.5, 0.7])  # the normalisation is undone
    grid.on_validation_epoch_start(trainer(), None)
    assert grid.seen == []


def test_grid__writes_predicted_and_true_class_on_the_image(tmp_path):
    grid = PredictionGrid(str(tmp_path))
    logits = [torch.tensor([0.9, 0.1]).log(), torch.tensor([0.4, 0.6]).log()]
    labels = torch.tensor([0, 0])
    grid.seen = list(zip([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)], labels, logits, strict=True))
    figure = grid.draw(CLASSES)
    assert [axes.get_title() for axes in figure.axes] == ["bag 90%", "coat 60%\nis bag"]
    assert [axes.images[0].get_array().mean() for axes in figure.axes] == [0.0, 1.0]
    figure.savefig(io.BytesIO())


@pytest.fixture
def boxes(tmp_path) -> BoxGrid:
    """One image of 32 x 32 pixels that is 160 wide and 80 high in the original: a coat, and a bag found too low."""
    target = {"original": torch.tensor([[10.0, 20.0, 50.0, 60.0]]), "labels": torch.tensor([1]), "size": (80, 160)}
    found = {
        "boxes": torch.tensor([[12.0, 30.0, 52.0, 70.0], [0.0, 0.0, 9.0, 9.0]]),
        "labels": torch.tensor([0, 2]),
        "scores": torch.tensor([0.9, 0.1]),
    }
    grid = BoxGrid(str(tmp_path))
    grid.seen = [(torch.full((3, 32, 32), 0.5), target, found)]
    return grid


def test_box_grid__draws_true_boxes_dashed_and_predicted_ones_in_the_colour_of_their_class(boxes):
    figure = boxes.draw(CLASSES)
    (cell,) = figure.axes
    true, found = cell.patches  # what is hardly believed is not drawn
    assert (true.get_bbox().extents.tolist(), true.get_linestyle()) == ([10, 20, 50, 60], "--")
    assert (found.get_bbox().extents.tolist(), found.get_linestyle()) == ([12, 30, 52, 70], "-")
    assert to_rgb(true.get_edgecolor()) == (1, 1, 1)
    assert to_rgb(found.get_edgecolor()) == pytest.approx(palette(3)[0])
    written = [(text.get_text(), text.get_position()) for text in cell.texts]
    assert written == [("coat", (10, 60)), ("bag 90%", (12, 30))]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["true", "bag", "coat"]


def test_box_grid__shows_the_image_in_the_proportions_of_the_original(boxes):
    (cell,) = boxes.draw(CLASSES).axes
    assert cell.images[0].get_extent() == [0, 160, 80, 0]
    assert (cell.get_xlim(), cell.get_ylim()) == ((0, 160), (80, 0))


def test_box_grid__draws_the_best_box_of_a_network_that_is_sure_of_nothing(boxes):
    boxes.seen[0][2]["scores"] = torch.tensor([0.02, 0.01])
    (cell,) = boxes.draw(CLASSES).axes
    assert [text.get_text() for text in cell.texts] == ["coat", "bag 2%"]


def test_box_overlays__are_in_pixels_of_the_logged_image(boxes):
    (layers,) = boxes.overlays(CLASSES)["boxes"]
    (found,), (true,) = layers["predictions"]["box_data"], layers["ground_truth"]["box_data"]
    assert true["position"] == {"minX": 2, "minY": 8, "maxX": 10, "maxY": 24}  # 32 of 160 and of 80 pixels
    assert found["position"] == pytest.approx({"minX": 2.4, "minY": 12, "maxX": 10.4, "maxY": 28})
    assert {found["domain"], true["domain"]} == {"pixel"}
    assert (found["class_id"], found["box_caption"], true["box_caption"]) == (0, "bag 90%", "coat")
    assert found["scores"] == pytest.approx({"score": 0.9})
    assert layers["predictions"]["class_labels"] == {0: "bag", 1: "coat", 2: "hat"}


@pytest.fixture
def masks(tmp_path) -> MaskGrid:
    """One grey image, 4 rows high and 6 wide: bag, hat and ignored; everything was taken for a bag."""
    target = torch.tensor([0, 0, 2, 2, 255, 255], dtype=torch.uint8).repeat(4, 1)
    grid = MaskGrid(str(tmp_path))
    grid.seen = [(torch.full((3, 4, 6), 0.5), target, torch.zeros(4, 6, dtype=torch.long))]
    return grid


def test_mask_grid__shows_image_truth_and_prediction_side_by_side(masks):
    (cell,) = masks.draw(CLASSES).axes
    shown = np.asarray(cell.images[0].get_array())
    assert shown.shape == (4, 18, 3)
    image, true, found = np.split(shown, 3, axis=1)
    assert (image == 127).all()
    assert (true[:, 4:] == 127).all()  # 255 is no class
    assert (true[:, :2] == found[:, :2]).all()
    assert (found == found[0, 0]).all()
    for colour, pixel in ((palette(3)[0], true[0, 0]), (palette(3)[2], true[0, 2])):
        strongest = int(np.argmax(colour))
        assert pixel.argmax() == strongest
    assert (true[0, 0] != true[0, 2]).any()


def test_mask_grid__has_a_legend_of_the_classes_that_occur(masks):
    figure = masks.draw(CLASSES)
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["bag", "hat"]
    colours = [to_rgb(handle.get_facecolor()) for handle in figure.legends[0].legend_handles]
    assert colours == [pytest.approx(palette(3)[0]), pytest.approx(palette(3)[2])]


def test_mask_overlays__are_bytes_with_names(masks):
    (layers,) = masks.overlays(CLASSES)["masks"]
    assert {layer["mask_data"].dtype for layer in layers.values()} == {np.dtype(np.uint8)}
    assert layers["ground_truth"]["mask_data"][0].tolist() == [0, 0, 2, 2, 255, 255]
    assert not layers["predictions"]["mask_data"].any()
    assert layers["predictions"]["class_labels"] == {0: "bag", 1: "coat", 2: "hat"}


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_overlays__are_accepted_by_wandb(kind, request):
    logged = {}
    logger = WandbLogger(experiment=SimpleNamespace(log=lambda metrics, **_: logged.update(metrics)))
    grid = request.getfixturevalue(kind)
    grid.on_validation_epoch_end(trainer("fit", (logger,)), None)
    ((image,), (figure,)) = logged["val/overlays"], logged["val/predictions"]
    assert type(image) is type(figure) is wandb.Image  # it refuses boxes and masks that it could not show
    assert image.image.size == tuple(grid.seen[0][0].shape[:0:-1])


@pytest.mark.parametrize("kind", ["boxes", "masks"])
def test_grid__goes_to_wandb_in_every_epoch_and_to_a_file_at_the_end(kind, request):
    logged = {}
    logger = SimpleNamespace(log_image=lambda name, pictures, **more: logged.update({name: (pictures, more)}))
    grid = request.getfixturevalue(kind)
    grid.on_validation_epoch_end(trainer("fit", (logger,)), None)
    assert not grid.path.exists()
    pictures, more = logged["val/overlays"]
    assert [picture.shape[2] for picture in pictures] == [3]
    assert (len(more[kind]), more["step"]) == (1, 7)
    assert logged["val/predictions"][0][0].shape[2] == 4
    grid.on_validation_epoch_end(trainer("validate"), None)
    assert grid.path.stat().st_size > 1000


def test_mask_grid__leaves_the_background_uncoloured(tmp_path):
    grid = MaskGrid(str(tmp_path))
    mask = torch.tensor([[0, 1]]).repeat(2, 1)
    grid.seen = [(torch.full((3, 2, 2), 0.5), mask, mask)]
    figure = grid.draw(["background", "bag"])
    shown = figure.axes[0].images[0].get_array()
    assert (shown[:, 2] == shown[:, 0]).all()  # the ground, true and as it is
    assert (shown[:, 3] != shown[:, 1]).any()
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["bag"]
