"""Writes the images of `examples/fashion`: a seeded sample of Fashion-MNIST, as class folders of PNG files.

`train/` gets 100 images a class from the package's training set, `val/` 30 a class from its test set. A file is named
by its index in that set. No two images of the sample are equal.

    python scripts/examples/fashion.py [FOLDER of the four .gz files]

By default the folder is where the Debian package `dataset-fashion-mnist` installs them.
"""

import gzip
import random
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image

PACKAGE = Path("/usr/share/datasets/fashion-mnist")
EXAMPLE = Path(__file__).parents[2] / "examples/fashion"
# In the order of the package's labels 0 to 9.
CLASSES = ["t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle-boot"]
# Folder -> the package's name for the set, images a class.
SETS = {"train": ("train", 100), "val": ("t10k", 30)}
SEED = 0


def read(source: Path, name: str) -> tuple[np.ndarray, np.ndarray]:
    """A set's images [N, 28, 28] and labels [N], from the IDX files (headers of 16 and 8 bytes)."""
    images = np.frombuffer(gzip.decompress((source / f"{name}-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((source / f"{name}-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return images.reshape(len(labels), 28, 28), labels


def main() -> None:
    source = Path(sys.argv[1]) if len(sys.argv) > 1 else PACKAGE
    rng = random.Random(SEED)
    chosen: set[bytes] = set()
    total = 0
    for folder, (name, count) in SETS.items():
        shutil.rmtree(EXAMPLE / folder, ignore_errors=True)
        images, labels = read(source, name)
        for label, label_name in enumerate(CLASSES):
            indices = [int(i) for i in np.flatnonzero(labels == label)]
            rng.shuffle(indices)
            target = EXAMPLE / folder / label_name
            target.mkdir(parents=True)
            written = 0
            for index in indices:
                pixels = images[index].tobytes()
                if written == count or pixels in chosen:
                    continue
                chosen.add(pixels)
                path = target / f"{index:05}.png"
                Image.fromarray(images[index]).save(path, optimize=True)
                total += path.stat().st_size
                written += 1
    print(f"{len(chosen)} images, {total} bytes")


if __name__ == "__main__":
    main()
