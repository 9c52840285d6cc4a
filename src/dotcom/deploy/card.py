"""The card beside an exported file: everything that one needs to use it, as JSON."""

from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from dotcom.deploy import detections, suppression
from dotcom.record import commit, hash_of, now

LETTERBOX = "scale the longer side to {size} pixels, fill up to the square at the right and at the bottom with zeros"
PACKAGES = {
    "onnx": ("torch", "onnx", "onnxscript", "onnxruntime"),
    "executorch": ("torch", "executorch", "torchao"),
    "litert": ("torch", "litert-torch", "ai-edge-litert"),
    "coreml": ("torch", "coremltools"),
    "openvino": ("torch", "openvino", "nncf"),
    "timm": ("torch", "timm", "safetensors"),
    "torch": ("torch",),
}
HINTS = {
    "onnx": "ONNX Runtime: leave graph optimisation on (the default); on Android and iOS, its CPU or XNNPACK provider.",
    "executorch": "Link the XNNPACK backend; one thread per big core is the fastest on most phones.",
    "litert": "Use the XNNPACK delegate, which is on by default; set the number of threads.",
    "coreml": "iOS 17 or macOS 14 and newer; compute units: all, so that the Neural Engine may be used.",
    "openvino": "Ask for INFERENCE_PRECISION_HINT=f32: some CPUs take bfloat16 otherwise. Keep .xml and .bin together.",
    "timm": "import dotcom.timm, then timm.create_model('local-dir:FOLDER', pretrained=True); any batch and size.",
    "torch": "torch.export.load; the reader evaluates strings of the file, so load only files that you trust.",
}
MEANINGS = {
    "Classification": {"logits": "one number a class; softmax makes probabilities, the largest is the class"},
    "Segmentation": {
        "logits": "one number a class and pixel; the largest is the class of the pixel, no softmax needed"
    },
    "Detection": {
        "boxes": "x1 y1 x2 y2 in pixels of the input, within it",
        "scores": "in [0, 1], no softmax or sigmoid needed; without the background",
        "labels": "index into classes",
    },
}


def preprocessing(config: Mapping[str, Any], task: str, image_size: int) -> dict[str, Any]:
    """How a picture becomes the input, as the run's own validation did it.

    Args:
        config: ``data`` of a configuration, at this size.
        task: ``"Classification"``, ``"Detection"`` or ``"Segmentation"``.
        image_size: N.
    """
    from dotcom.imagenet import IMAGENET_MEAN, IMAGENET_STD

    transform, square = config["val_transform"], f"{image_size} x {image_size} pixels"
    geometry = {
        "Classification": f"scale the shorter side to {transform.get('resize')} pixels, cut {square} from the centre",
        "Detection": f"scale to {square}, whatever the shape of the picture",
        "Segmentation": LETTERBOX.format(size=image_size) + " of the normalised image",
    }
    return {
        "size": image_size,
        "kind": {"Classification": "resize and centre crop", "Detection": "square", "Segmentation": "letterbox"}[task],
        "geometry": geometry[task],
        "resize": transform.get("resize", image_size),
        "interpolation": f"{transform.get('interpolation', 'bilinear')}, antialiased",
        "channels": "RGB",
        "range": "pixels in [0, 1] (8 bits / 255), then (pixel - mean) / std for each channel",
        "mean": list(config.get("mean", IMAGENET_MEAN)),
        "std": list(config.get("std", IMAGENET_STD)),
    }


def tensors(outputs: Mapping[str, Any], image_size: int, task: str) -> dict[str, Any]:
    """Names, shapes, types and meanings of inputs and outputs.

    Args:
        outputs: Of the file for some image, or arrays of the same shape and type.
        image_size: N.
        task: As in ``preprocessing``.
    """
    found = "labels" in outputs
    layout = {"logits": "NCHW" if task == "Segmentation" else "NC"}
    return {
        "inputs": [{"name": "images", "shape": [1, 3, image_size, image_size], "dtype": "float32", "layout": "NCHW"}],
        "outputs": [
            {
                "name": name,
                "shape": ["M <= 100", *array.shape[1:]] if found else list(array.shape),
                "dtype": str(array.dtype),
                "layout": layout.get(name, "batch, anchor, value" if not found else "detection, value"),
                "meaning": MEANINGS[task][name],
            }
            for name, array in outputs.items()
        ],
    }


def postprocessing(task: str, raw: bool) -> str:
    """What is left to do with the outputs."""
    if task != "Detection":
        return "none"
    numbers = (
        f"per class the best {detections.CANDIDATES} above {detections.THRESHOLD}, non-maximum suppression within "
    )
    numbers += f"each class above an IoU of {detections.OVERLAP}, the best {detections.BEST}"
    if raw:
        return f"{numbers}: dotcom.deploy.detections.detect, which needs NumPy alone"
    return f"none: the file returns detections, the best first ({numbers})"


def installed(name: str) -> dict[str, str]:
    """Versions of what wrote a file."""
    found = {}
    for package in ("dotcom", *PACKAGES[name]):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def origin(name: str, files: Sequence[Path]) -> dict[str, Any]:
    """Which code made which files, when."""
    return {
        "files": {path.name: hash_of(path) for path in files},
        "versions": installed(name),
        "commit": commit(),
        "written": now(),
        "hint": HINTS[name],
    }


def returns_detections(outputs: Mapping[str, Any]) -> bool:
    """Whether a file did the non-maximum suppression itself."""
    return set(outputs) == set(suppression.OUTPUTS)
