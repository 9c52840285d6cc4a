"""Evaluation of detectors: COCO's metric against pycocotools, and detections against torchvision's loop."""

from collections.abc import Iterator

from dotcom.bench import coco, detections
from dotcom.bench.row import Effort, Row, skipped
from dotcom.bench.watch import Watch
from dotcom.deploy.formats import absent

IMAGES: dict[Effort, int] = {"quick": 100, "normal": 500, "full": 2000}
ROUNDS: dict[Effort, int] = {"quick": 2, "normal": 3, "full": 3}  # of COCO's metric, whose calls take seconds


def rows(effort: Effort, watch: Watch) -> Iterator[Row]:
    """The metric on made detections, then each regime of scores."""
    yield from metric(IMAGES[effort], ROUNDS[effort], watch)
    yield from suppression(watch, ("usual",) if effort == "quick" else tuple(detections.REGIMES))


def metric(images: int, rounds: int, watch: Watch) -> Iterator[Row]:
    """COCO's mAP of so many images: pycocotools, ours, and what torchmetrics gives by itself."""
    if gone := absent(("pycocotools",)):
        yield skipped("eval", "coco", f"{' and '.join(gone)} not installed, which it is compared with")
        return
    content = coco.made(images)
    calls = {
        "coco pycocotools": coco.evaluation("pycocotools", content),
        "coco": coco.evaluation("faster_coco_eval", content),
    }
    values = {name: call() for name, call in calls.items()}
    by_itself = coco.evaluation("faster_coco_eval", content, exact=False)()
    times = watch.turns(calls, "COCO's metric", rounds)
    truth = values["coco pycocotools"]
    yield Row("eval", "coco pycocotools", times.ms("coco pycocotools"), facts=(f"{images} images", f"mAP {truth:.7f}"))
    yield Row(
        "eval",
        "coco",
        times.ms("coco"),
        ratio=times.ratio("coco pycocotools", "coco"),
        difference=abs(values["coco"] - truth),
        facts=(f"float32 recall thresholds would be off by {abs(by_itself - truth):.0e}",),
    )


def suppression(watch: Watch, regimes: tuple[str, ...]) -> Iterator[Row]:
    """From outputs of a detector to boxes, a batch of 4 at 320 pixels, 90 classes."""
    network = detections.detector()
    for regime in regimes:
        outputs = detections.outputs(network, regime)
        calls = {"torchvision": detections.torchvisions(network, outputs), "ours": detections.ours(network, outputs)}
        theirs, ours = calls["torchvision"](), calls["ours"]()
        times = watch.turns(calls, f"detections, {regime}")
        wrong = detections.different(theirs, ours)
        facts = (f"{len(outputs['anchors'])} anchors", f"{detections.candidates(network, outputs)} candidates")
        yield Row("eval", f"ssd {regime} torchvision", times.ms("torchvision"), facts=facts)
        yield Row(
            "eval",
            f"ssd {regime}",
            times.ms("ours"),
            ratio=times.ratio("torchvision", "ours"),
            difference=f"{wrong} tensors differ" if wrong else "identical",
            numbers={"different": float(wrong)},
        )
