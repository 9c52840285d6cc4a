"""A made-up sweep on disk, four arms of Co-Bias with six seeds each, as train.py and its launcher leave one.

    python tests/studies.py FOLDER

The numbers are drawn at random around plausible ones; no network was trained.
"""

import csv
import json
import math
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

GAIN = {"false": 0.0, "first": 0.010, "second": 0.0005, "true": 0.012}  # of top-1 over no Co-Bias
SEEDS = range(6)
EPOCHS = 8


def write_study(
    folder: Path, key: str = "co_bias", gain: dict[str, float] = GAIN, seeds: Sequence[int] = SEEDS
) -> Path:
    """A sweep directory of ``len(gain) * len(seeds)`` finished runs; returns the folder."""
    jobs: dict[str, Any] = {}
    for value, better in gain.items():
        for seed in seeds:
            name = f"{slug(key)}-{slug(value)}__seed-{seed}__{random.Random(f'{value}{seed}').getrandbits(32):08x}"
            record = write_run(folder / name, folder.name, key, value, seed, better)
            jobs[name] = {
                **{part: record[part] for part in ("overrides", "arms", "seed", "fingerprint", "state", "score")},
                "command": ["python", "train.py", *record["overrides"]],
                "start": record["started"],
                "end": record["ended"],
                "exit_code": 0,
                "log": f"{name}/log.txt",
                "attempts": 1,
                "reason": None,
            }
    swept = {key: list(gain), "seed": [str(seed) for seed in seeds]}
    overrides = [f"{name}={','.join(values)}" for name, values in swept.items()]
    sweep = {"version": 1, "name": folder.name, "command": ["python", "train.py", "-m", *overrides]}
    (folder / "sweep.json").write_text(json.dumps(sweep | {"swept": swept, "jobs": jobs}, indent=1))
    return folder


def write_run(folder: Path, sweep: str, key: str, value: str, seed: int, better: float) -> dict[str, Any]:
    """One run directory; runs of a seed share what that seed brings. Returns what its run.json says."""
    folder.mkdir(parents=True)
    noise = random.Random(f"{key}{value}{seed}")
    top = 0.83 + better + random.Random(seed).gauss(0, 0.008) + noise.gauss(0, 0.004)
    rows = metrics(top, noise)
    with (folder / "metrics.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, ["epoch", "images/s", "lr", "step", "train/loss", "val/loss", "val/top1"])
        writer.writeheader()
        writer.writerows(rows)
    best = max((row for row in rows if "val/top1" in row), key=lambda row: row["val/top1"])
    draw_predictions(folder / "predictions.png", noise)
    record = {
        "version": 1,
        "name": "dotcom_tiny-fashion",
        "fingerprint": folder.name.rpartition("__")[2],
        "config": config(key, value, seed, str(folder)),
        "choices": {"model": "dotcom_tiny", "data": "fashion", "hardware": "cpu"},
        "overrides": [f"{key}={value}", f"seed={seed}"],
        "sweep": sweep,
        "arms": [f"{key}={value}"],
        "seed": seed,
        "commit": "a01f7a9",
        "versions": {"dotcom": "0.1.0", "torch": "2.14.1", "lightning": "2.6.6", "python": "3.11.2"},
        "state": "done",
        "started": f"2026-11-25T10:{seed:02}:00+00:00",
        "ended": f"2026-11-25T10:{seed + 4:02}:12+00:00",
        "parameters": 1_446_874 + (2_080 if value in ("true", "first", "second") else 0),
        "macs": 45_300_000,
        "minutes": round(3.5 + noise.gauss(0, 0.2), 3),
        "images_per_second": round(240 + noise.gauss(0, 9), 2),
        "monitor": "val/top1",
        "score": best["val/top1"],
        "scores": {"val/top1": best["val/top1"], "val/loss": best["val/loss"]},
    }
    (folder / "run.json").write_text(json.dumps(record, indent=1))
    return record


def metrics(top: float, noise: random.Random) -> list[dict[str, float]]:
    """Rows of metrics.csv: a learning rate and two training losses per epoch, then the validation."""
    rows: list[dict[str, float]] = []
    for epoch in range(EPOCHS):
        done = (epoch + 1) / EPOCHS
        for half in (0.5, 1.0):
            step, loss = round(188 * (epoch + half)), 0.3 + 1.6 * math.exp(-3.2 * (epoch + half) / EPOCHS)
            rows.append({"step": step, "lr": 0.002 * (1 + math.cos(math.pi * done)) / 2})
            rows.append({"epoch": epoch, "step": step, "train/loss": loss + noise.gauss(0, 0.02)})
        score = top - 0.42 * math.exp(-4.6 * done) + noise.gauss(0, 0.004)
        loss = 1.28 - score + noise.gauss(0, 0.006)
        rows.append({"epoch": epoch, "step": step, "val/top1": score, "val/loss": loss})
        rows.append({"epoch": epoch, "step": step, "images/s": 240 + noise.gauss(0, 9)})
    return rows


def draw_predictions(path: Path, noise: random.Random) -> None:
    """A grid of 25 grey squares with captions, as large as the real picture."""
    picture = Image.new("RGB", (1000, 1125), "white")
    pen = ImageDraw.Draw(picture)
    for cell in range(25):
        x, y = 200 * (cell % 5), 225 * (cell // 5)
        grey = noise.randrange(40, 220)
        pen.text((x + 60, y + 8), f"Sneaker {noise.randrange(40, 100)}%", "green" if cell % 6 else "red", font_size=16)
        pen.rectangle((x + 10, y + 35, x + 190, y + 215), (grey, grey, grey))
    picture.save(path)


def config(key: str, value: str, seed: int, folder: str) -> dict[str, Any]:
    """The part of a resolved configuration that matters here, with some that does not."""
    spoken: Any = {"true": True, "false": False}.get(value, value)
    switches = {"co_bias": True, "block": "qib"} | {key: spoken}
    optimizer = {"_target_": "torch.optim.AdamW", "lr": 0.002, "weight_decay": 0.005, "fused": True}
    data = {"_target_": "dotcom.data.DataModule", "num_classes": 10, "batch_size": 32, "num_workers": 0, "seed": seed}
    hardware = {"accelerator": "cpu", "devices": 1, "precision": "32-true", "num_workers": 0}
    model = {"_target_": "dotcom.models.DoTCoM.from_variant", "variant": "tiny", **switches}
    recipe = {"epochs": EPOCHS, "image_size": 64, "accumulate": 1, "clip": None, "ema": None, "weights": None}
    run = {"run_name": "dotcom_tiny-fashion", "seed": seed, "monitor": "val/top1", "output_dir": folder}
    parts = {"hardware": hardware, "optimizer": optimizer, "model": model, "data": data}
    return switches | recipe | run | parts | {"logger": {"csv": {"save_dir": folder}}}


def slug(text: str) -> str:
    """A part of a folder's name."""
    return "".join(letter if letter.isalnum() or letter in "_." else "-" for letter in text)


if __name__ == "__main__":
    print(write_study(Path(sys.argv[1])))
