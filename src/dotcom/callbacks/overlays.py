"""Pictures of boxes and of masks, predicted beside true."""

from collections.abc import Iterable, Sequence
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch, Rectangle
from torch import Tensor
from torchvision.utils import draw_segmentation_masks

from dotcom.callbacks.pictures import PredictionGrid, palette
from dotcom.text import visible

SURE = 0.3  # lowest score of a box that is drawn without further ado
IGNORED = 255
OPAQUE = 0.6
GROUND = "background"  # a class of this name is not coloured


class BoxGrid(PredictionGrid):
    """Predicted boxes in the colour of their class with class and score; true ones dashed in white."""

    columns = 4
    cell = (3.2, 3.2)

    def draw(self, classes: Sequence[str]) -> Figure:
        figure = super().draw(classes)
        true = Patch(fill=False, linestyle="--", edgecolor="0.4", label="true")
        shown = {
            int(label) for _, target, output in self.seen for label in [*target["labels"], *sure(output)["labels"]]
        }
        add_legend(figure, [true, *patches(classes, shown)])
        return figure

    def draw_cell(self, cell: Axes, image: Tensor, target: Any, output: Any, classes: Sequence[str]) -> None:
        """The image in its original proportions, with both kinds of boxes."""
        height, width = (int(side) for side in target["size"])
        cell.imshow(image.permute(1, 2, 0).numpy(), extent=(0, width, height, 0))
        for box, label in zip(target["original"].tolist(), target["labels"].tolist(), strict=True):
            cell.add_patch(rectangle(box, "white", "--"))
            name = visible(classes[label])
            cell.text(box[0], box[3], name, fontsize=6, color="white", va="top", parse_math=False)
        colours, found = palette(len(classes)), sure(output)
        for box, label, score in zip(*(found[key].tolist() for key in ("boxes", "labels", "scores")), strict=True):
            cell.add_patch(rectangle(box, colours[label], "-"))
            frame = {"facecolor": colours[label], "edgecolor": "none", "pad": 0.8, "alpha": 0.8}
            style: dict[str, Any] = {"fontsize": 6, "color": "white", "va": "bottom", "parse_math": False}
            cell.text(box[0], box[1], f"{visible(classes[label])} {score:.0%}", bbox=frame, **style)
        cell.set_xlim(0, width)
        cell.set_ylim(height, 0)

    def overlays(self, classes: Sequence[str]) -> dict[str, list[Any]]:
        names = dict(enumerate(classes))
        boxes = []
        for image, target, output in self.seen:
            scale = [image.shape[axis] / float(side) for axis, side in ((2, target["size"][1]), (1, target["size"][0]))]
            true = {"boxes": target["original"], "labels": target["labels"]}
            layers = {"predictions": sure(output), "ground_truth": true}
            boxes.append(
                {
                    name: {"box_data": box_data(layer, scale, classes), "class_labels": names}
                    for name, layer in layers.items()
                }
            )
        return {"boxes": boxes}


class MaskGrid(PredictionGrid):
    """The image, then the true and the predicted classes laid over it, in colours that a legend explains."""

    columns = 3
    cell = (4.6, 1.7)

    def draw(self, classes: Sequence[str]) -> Figure:
        figure = super().draw(classes)
        shown = {int(label) for _, target, output in self.seen for mask in (target, output) for label in mask.unique()}
        add_legend(figure, patches(classes, shown))
        figure.suptitle("image, true, predicted", fontsize=9)
        return figure

    def draw_cell(self, cell: Axes, image: Tensor, target: Any, output: Any, classes: Sequence[str]) -> None:
        """Three pictures side by side."""
        pixels = (image * 255).to(torch.uint8)
        colours = [tuple(round(255 * part) for part in colour) for colour in palette(len(classes))]
        drawn, labels = [pixels], torch.tensor([label for label, name in enumerate(classes) if name != GROUND])
        for mask in (target, output):
            layers = mask == labels[:, None, None]
            shown = [colours[label] for label in labels]
            drawn.append(draw_segmentation_masks(pixels, layers, alpha=OPAQUE, colors=shown))
        cell.imshow(torch.cat(drawn, dim=2).permute(1, 2, 0).numpy())

    def overlays(self, classes: Sequence[str]) -> dict[str, list[Any]]:
        names = dict(enumerate(classes))
        return {
            "masks": [
                {
                    name: {"mask_data": mask.to(torch.uint8).numpy(), "class_labels": names}
                    for name, mask in (("predictions", output), ("ground_truth", target))
                }
                for _, target, output in self.seen
            ]
        }


def sure(output: dict[str, Tensor]) -> dict[str, Tensor]:
    """The detections that are worth drawing, the best one in any case: a young network is sure of nothing."""
    keep = output["scores"] >= SURE
    keep[:1] = True  # they come best first
    return {key: value[keep] for key, value in output.items()}


def box_data(layer: dict[str, Tensor], scale: Sequence[float], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Boxes as W&B wants them, in pixels of the logged image, which is ``scale`` times the original in x and y."""
    scores = layer["scores"].tolist() if "scores" in layer else [None] * len(layer["boxes"])
    data = []
    for (x1, y1, x2, y2), label, score in zip(layer["boxes"].tolist(), layer["labels"].tolist(), scores, strict=True):
        (x, y), name = scale, classes[label]
        data.append(
            {
                "position": {"minX": x1 * x, "minY": y1 * y, "maxX": x2 * x, "maxY": y2 * y},
                "domain": "pixel",
                "class_id": label,
                "box_caption": name if score is None else f"{name} {score:.0%}",
                "scores": {} if score is None else {"score": score},
            }
        )
    return data


def rectangle(box: Sequence[float], colour: Any, line: str) -> Rectangle:
    """A box x1 y1 x2 y2 as an outline."""
    x1, y1, x2, y2 = box
    return Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=colour, linestyle=line, linewidth=1.4)


def patches(classes: Sequence[str], shown: Iterable[int]) -> list[Patch]:
    """Entries of a legend for the coloured classes that occur."""
    colours, labels = palette(len(classes)), sorted(set(shown) - {IGNORED})
    return [Patch(color=colours[label], label=visible(classes[label])) for label in labels if classes[label] != GROUND]


def add_legend(figure: Figure, entries: list[Patch]) -> None:
    """Put a legend below all pictures, whose texts stand there literally: with dollar signs, underscores in front."""
    names = [entry.get_label() for entry in entries]
    style: dict[str, Any] = {"ncols": min(6, len(entries)), "fontsize": 8, "frameon": False}
    legend = figure.legend(entries, ["name"] * len(entries), loc="outside lower center", **style)
    for text, name in zip(legend.get_texts(), names, strict=True):
        text.set(parse_math=False, text=name)
