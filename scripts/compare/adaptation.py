"""Measures `headstart adapt` as docs/adaptation.md tells it: every figure of that page.

    cargo build --release
    python scripts/compare/adaptation.py PACS HYMENOPTERA [--only tables,same,missing,dusk,few] [--seeds 3]

PACS has photo/CLASS/* and sketch/CLASS/*; HYMENOPTERA has train/CLASS/* and val/CLASS/*. In parts, each of minutes to tens of minutes on two
cores:

- `tables`: photos to sketches and back, every method, one epoch for those that train the tail, several seeds; mean and standard deviation.
- `same`: three quarters of the photos as the source, the last quarter as the target, ten seeds: what is chosen, and its accuracy.
- `missing`: targets that lack half of the classes.
- `dusk`: the validation photos blurred (by so many pixels of 256) and darkened, without noise and with noise of 2 of 255.
- `few`: so many labelled sketches a class, drawn five times, measured on the others.

Nothing of the target's labels reaches a choice: they are given as `--eval` alone.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image, ImageFilter

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "headstart"
# Minutes in which methods of both domains are tried too.
BUDGET = 60


def headstart(*arguments):
    """The JSON of one command."""
    command = [str(a) for a in (BINARY, *arguments, "--json")]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def train(data, model):
    headstart("train", data, "-o", model, "--report", "none")
    return model


def adapt(work, model, source, target, *more, epochs=1):
    """What was chosen, and the accuracy of every method in percent."""
    asked = ("--source", source, "--target", target, "--eval", target, "--epochs", epochs, *more)
    found = headstart("adapt", model, *asked, "-o", work / "adapted.safetensors", "--report", "none")
    return found, {t["method"]: 100 * t["eval"]["accuracy"] for t in found["tried"]}


def link(files, folder):
    folder.mkdir(parents=True, exist_ok=True)
    for file in files:
        os.link(file, folder / file.name)


def classes(folder):
    return sorted(p for p in folder.iterdir() if p.is_dir())


def emptied(folder):
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def tables(work, pacs, seeds):
    for source, target in (("photo", "sketch"), ("sketch", "photo")):
        model = train(pacs / source, work / f"{source}.safetensors")
        runs, chosen, seconds = {}, [], []
        for seed in range(seeds):
            found, right = adapt(work, model, pacs / source, pacs / target, "--seed", seed, "--budget", BUDGET)
            chosen.append((found["chosen"], right[found["chosen"]]))
            seconds.append(found["seconds"])
            for method, accuracy in right.items():
                runs.setdefault(method, []).append(accuracy)
        auto = [accuracy for _, accuracy in chosen]
        print(f"\n{source} to {target}: auto {spread(auto)} ({', '.join(f'{m} {a:.1f}' for m, a in chosen)}), {min(seconds):.0f} to {max(seconds):.0f} s\n")
        print("| method | right | runs |\n| --- | --- | --- |")
        for method, accuracies in runs.items():
            print(f"| {method} | {spread(accuracies)} | {len(accuracies)} |", flush=True)


def spread(values):
    deviation = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):.1f} ± {deviation:.1f} %"


def split(source, seed, folder):
    """Three quarters of the images in `train`, the rest in `held`."""
    rng = np.random.default_rng(seed)
    for c in classes(source):
        files = sorted(c.iterdir())
        held = set(rng.choice(len(files), len(files) // 4, replace=False).tolist())
        link([f for i, f in enumerate(files) if i not in held], folder / "train" / c.name)
        link([f for i, f in enumerate(files) if i in held], folder / "held" / c.name)
    return folder / "train", folder / "held"


def same(work, pacs):
    print("\nthe same domain")
    for seed in range(10):
        known, held = split(pacs / "photo", seed, emptied(work / "same"))
        model = train(known, work / "same.safetensors")
        found, right = adapt(work, model, known, held)
        print(f"seed {seed}: {found['chosen']}, {right['none']:.2f} before, {right[found['chosen']]:.2f} after", flush=True)


def missing(work, pacs):
    known, held = split(pacs / "photo", 0, emptied(work / "same"))
    domains = (("photo", pacs / "photo", pacs / "sketch"), ("sketch", pacs / "sketch", pacs / "photo"), ("same", known, held))
    for name, source, target in domains:
        model = train(source, work / f"{name}.safetensors")
        all_of = classes(target)
        for kept in (all_of[:4], all_of[3:], all_of[::2], all_of[1::2]):
            half = emptied(work / "half")
            for c in kept:
                link(sorted(c.iterdir()), half / c.name)
            found, right = adapt(work, model, source, half)
            names = ", ".join(c.name for c in kept)
            print(f"{name}, {names} alone: {found['chosen']}, {right['none']:.1f} before, {right[found['chosen']]:.1f} after", flush=True)


def dusk(work, hymenoptera):
    model = train(hymenoptera, work / "insects.safetensors")
    clean = headstart("eval", model, hymenoptera / "val")["accuracy"]
    print(f"\nants and bees as they are: {100 * clean:.1f} %", flush=True)
    for blur, light, noise in ((1, 0.3, 2), (0, 0.1, 2), (2, 0.3, 2), (3, 0.5, 2), (1.5, 0.3, 0), (1.5, 0.15, 0), (1, 0.1, 0)):
        folder, rng = emptied(work / "dusk"), np.random.default_rng(0)
        for c in classes(hymenoptera / "val"):
            (folder / c.name).mkdir(parents=True)
            for file in sorted(c.iterdir()):
                image = Image.open(file).convert("RGB")
                image = image.filter(ImageFilter.GaussianBlur(blur * max(1, min(image.size) / 256)))
                values = np.asarray(image, dtype=float) * light + rng.normal(0, noise, (image.height, image.width, 3))
                Image.fromarray(values.clip(0, 255).astype("uint8")).save(folder / c.name / f"{file.stem}.png")
        found, right = adapt(work, model, hymenoptera / "train", folder)
        shown = ("none", "adabn", "standardise", "coral")
        tent = next((m for m in right if m.endswith("tent")), None)
        figures = ", ".join(f"{m} {right[m]:.1f}" for m in (*shown, tent, found["chosen"]) if m in right)
        print(f"blur {blur}, light {light}, noise {noise}: {figures}: {found['chosen']} chosen", flush=True)


def few(work, pacs):
    model = train(pacs / "photo", work / "photo.safetensors")
    for each in (3, 10):
        accuracies = []
        for draw in range(5):
            rng, folder = np.random.default_rng(draw), emptied(work / "few")
            for c in classes(pacs / "sketch"):
                files = sorted(c.iterdir())
                picked = set(rng.choice(len(files), each, replace=False).tolist())
                link([f for i, f in enumerate(files) if i in picked], folder / "few" / c.name)
                link([f for i, f in enumerate(files) if i not in picked], folder / "rest" / c.name)
            _, right = adapt(work, model, pacs / "photo", folder / "rest", "--few", folder / "few", "--method", "few")
            accuracies.append(right["few"])
        runs = ", ".join(f"{a:.1f}" for a in accuracies)
        print(f"{each} a class: {spread(accuracies)} ({runs})", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pacs", type=Path)
    parser.add_argument("hymenoptera", type=Path)
    parser.add_argument("--only", default="tables,same,missing,dusk,few")
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    parts = asked.only.split(",")
    # Beside the data, so that images are linked and not copied.
    with tempfile.TemporaryDirectory(dir=asked.pacs.parent) as folder:
        work = Path(folder)
        if "tables" in parts:
            tables(work, asked.pacs, asked.seeds)
        if "same" in parts:
            same(work, asked.pacs)
        if "missing" in parts:
            missing(work, asked.pacs)
        if "dusk" in parts:
            dusk(work, asked.hymenoptera)
        if "few" in parts:
            few(work, asked.pacs)


if __name__ == "__main__":
    main()
