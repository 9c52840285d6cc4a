"""Scenes of photographed things on textured ground, with exact boxes and masks: real photos in synthetic scenes."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image
from scipy import fft, ndimage

Array = np.ndarray[Any, np.dtype[Any]]

OBJECTS = (1, 5)  # per scene
DISTRACTORS = (0, 4)
SIDE = (40, 88)  # of an object before it is turned, in pixels of a 128-pixel scene
TURN = 25  # degrees, either way
VISIBLE = 0.4  # an object that would leave less than this of itself or of another to be seen is not placed
TRIES = 8  # places looked at for each object


@dataclass(frozen=True)
class Scene:
    """One image and what is in it.

    Attributes:
        image: uint8 (H, W, 3).
        instances: uint8 (H, W); 0 is the ground, i + 1 the visible part of object i.
        labels: int64 (N,), class of each object.
        boxes: float32 (N, 4), tight around the visible part, x1 y1 x2 y2 in pixels, the far edges exclusive.
    """

    image: Array
    instances: Array
    labels: Array
    boxes: Array

    @property
    def classes(self) -> Array:
        """uint8 (H, W): 0 is the ground, class + 1 an object."""
        return np.concatenate([[0], self.labels + 1]).astype(np.uint8)[self.instances]


class SceneGenerator:
    """Makes scene number ``index`` from photos; the same arguments give the same scene, whatever was made before.

    Args:
        photos: uint8 (N, 28, 28), grey things on black.
        labels: Their N classes.
        seed: Two ints or more: of the split and of the set.
        size: Side of a scene in pixels.
    """

    def __init__(self, photos: Array, labels: Array, seed: Sequence[int], size: int = 128) -> None:
        self.photos, self.labels, self.seed, self.size = photos, labels, tuple(seed), size
        frequency = np.hypot(fft.fftfreq(size)[:, None], fft.rfftfreq(size)[None])
        frequency[0, 0] = np.inf  # no constant part
        self.log_frequency = np.log(frequency).astype(np.float32)
        self.cutouts: dict[int, Image.Image] = {}

    def __call__(self, index: int) -> Scene:
        rng = np.random.default_rng((*self.seed, index))
        image = self._ground(rng)
        for _ in range(rng.integers(DISTRACTORS[0], DISTRACTORS[1] + 1)):
            self._scatter(image, rng)
        instances = np.zeros((self.size, self.size), np.uint8)
        labels, areas = [], [1]  # areas: pixels of the ground (unused) and of each whole object
        for _ in range(rng.integers(OBJECTS[0], OBJECTS[1] + 1)):
            photo = int(rng.integers(len(self.photos)))
            grey, alpha = self._posed(photo, rng)
            if place := self._place(instances, alpha >= 0.5, areas, rng):
                areas.append(int((alpha >= 0.5).sum()))
                labels.append(int(self.labels[photo]))
                image[place] += alpha[..., None] * (tinted(grey, rng) - image[place])
                instances[place][alpha >= 0.5] = len(labels)
        boxes = [(x.start, y.start, x.stop, y.stop) for y, x in ndimage.find_objects(instances)]
        return Scene(image.round().astype(np.uint8), instances, np.array(labels), np.array(boxes, np.float32))

    def _ground(self, rng: np.random.Generator) -> Array:
        """1/f noise, smoother or rougher, between two colours not far apart: float (H, W, 3) in [0, 255]."""
        amplitude = np.exp(np.float32(-rng.uniform(1.2, 2.2)) * self.log_frequency)
        phase = np.float32(2 * np.pi) * rng.random(amplitude.shape, dtype=np.float32)
        noise: Array = fft.irfft2(amplitude * np.exp(1j * phase), s=(self.size, self.size))
        noise = (noise - noise.min()) / (noise.max() - noise.min())
        middle, reach = (rng.uniform(low, high, 3).astype(np.float32) for low, high in ((60, 195), (-60, 60)))
        return middle + (2 * noise[..., None] - 1) * reach

    def _scatter(self, image: Array, rng: np.random.Generator) -> None:
        """Paste a square fragment of some photo, so that edges and fabric alone do not make an object."""
        side, shown = rng.integers(8, 15), int(rng.integers(10, 29))
        top, left = rng.integers(0, 29 - side, 2)
        piece = Image.fromarray(self.photos[rng.integers(len(self.photos)), top : top + side, left : left + side])
        grey = np.asarray(piece.resize((shown, shown), Image.Resampling.BILINEAR)) / np.float32(255)
        y, x = rng.integers(0, self.size - shown, 2)
        image[y : y + shown, x : x + shown] = tinted(grey, rng)

    def _posed(self, photo: int, rng: np.random.Generator) -> tuple[Array, Array]:
        """A thing scaled, turned and perhaps mirrored: grey and alpha in [0, 1], cropped to what alpha shows."""
        if photo not in self.cutouts:
            self.cutouts[photo] = cut_out(self.photos[photo])
        side = int(rng.uniform(*SIDE) * self.size / 128)
        posed = self.cutouts[photo].resize((side, side), Image.Resampling.BILINEAR)
        posed = posed.rotate(rng.uniform(-TURN, TURN), Image.Resampling.BILINEAR, expand=True)
        pixels = np.asarray(posed, np.float32) / 255
        rows, columns = ((pixels[..., 1] >= 0.5).any(axis) for axis in (1, 0))
        pixels = pixels[np.flatnonzero(rows)[0] : np.flatnonzero(rows)[-1] + 1]
        pixels = pixels[:, np.flatnonzero(columns)[0] : np.flatnonzero(columns)[-1] + 1]
        if rng.random() < 0.5:
            pixels = pixels[:, ::-1]
        return pixels[..., 0], pixels[..., 1]

    def _place(
        self, instances: Array, shape: Array, areas: Sequence[int], rng: np.random.Generator
    ) -> tuple[slice, slice] | None:
        """Where an object may stand so that enough of all others stays visible, or None."""
        height, width = shape.shape
        if max(height, width) > self.size:
            return None
        seen = np.bincount(instances.ravel(), minlength=len(areas))
        for _ in range(TRIES):
            y, x = rng.integers(0, self.size - height + 1), rng.integers(0, self.size - width + 1)
            place = slice(y, y + height), slice(x, x + width)
            left = seen - np.bincount(instances[place][shape], minlength=len(areas))
            if (left[1:] >= VISIBLE * np.array(areas[1:])).all():
                return place
        return None


def cut_out(photo: Array) -> Image.Image:
    """A thing without its black background, as grey and alpha (28 x 28): holes filled, specks dropped."""
    solid = ndimage.binary_fill_holes(photo > 0.06 * 255)
    parts, count = ndimage.label(solid)
    sizes = np.bincount(parts.ravel(), minlength=count + 1)
    sizes[0] = 0
    keep = (sizes >= 0.1 * sizes.max()) & (sizes > 0)
    alpha = np.where(keep[parts], 255, 0).astype(np.uint8)
    return Image.merge("LA", [Image.fromarray(photo), Image.fromarray(alpha)])


def tinted(grey: Array, rng: np.random.Generator) -> Array:
    """Grey in [0, 1], (H, W), between a dark and a light colour: (H, W, 3) in [0, 255]."""
    dark, light = (rng.uniform(low, high, 3).astype(np.float32) for low, high in ((0, 80), (160, 255)))
    return dark + grey[..., None] * (light - dark)
