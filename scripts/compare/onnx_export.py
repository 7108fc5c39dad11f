"""Runs exported ONNX files in ONNX Runtime and compares their probabilities with those of `headstart predict`.

    cargo build --release
    pip install onnxruntime onnx
    python scripts/compare/onnx_export.py PHOTOS [--binary FILE] [MODEL ...]

PHOTOS is a folder of images, of which ten are taken. MODEL is a model file or the name of a network whose weights are here;
without any, these: tf_efficientnet_lite0 with its own weights, and one network of each family with seeded random ones,
imported into a home that is removed again. Images go through Pillow by what the file's metadata says,
and once more as bytes through a file with the preprocessing inside. Prints for each the largest difference of a probability,
and whether the most probable class is the same.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from PIL import Image, ImageOps

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts" / "fixtures"))
RANDOM = {
    **{"resnet18": 0.7, "mobilenet_v2": 0.7, "vgg11_bn": 0.7, "vit_tiny_patch16_224": 1.0, "resnext50_32x4d": 0.7},
    **{"mobilenet_v3_small": 1.0, "efficientnet_b0": 1.0, "convnext_tiny": 1.0, "densenet121": 1.0},
}
FILTERS = {"bilinear": Image.BILINEAR, "bicubic": Image.BICUBIC}


def seeded_weights(arch, gain, path):
    """A state dict of random values, as `arch` has it."""
    import timm
    import torch
    import torchvision
    from seeded import seeded

    torch.manual_seed(0)
    net = timm.create_model(arch) if "vit" in arch else getattr(torchvision.models, arch)()
    values = {k: torch.from_numpy(seeded(k, tuple(v.shape), 0, gain)) for k, v in net.state_dict().items()}
    torch.save({k: v.reshape(()) if k.endswith("num_batches_tracked") else v for k, v in values.items()}, path)


def pixels(path, about):
    """`[3, crop, crop]` by the metadata: Pillow's resize, torchvision's centre crop."""
    image = ImageOps.exif_transpose(Image.open(path)).convert("RGB")
    resize, crop = int(about["resize"]), int(about["crop"])
    w, h = image.size
    size = (resize, resize * h // w) if w <= h else (resize * w // h, resize)
    image = image.resize(size, FILTERS[about["interpolation"]])
    left, top = (int(round((s - crop) / 2.0)) for s in size)
    x = np.asarray(image.crop((left, top, left + crop, top + crop)), np.float32) / 255
    return ((x - np.float32(json.loads(about["mean"]))) / np.float32(json.loads(about["std"]))).transpose(2, 0, 1)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path)
    parser.add_argument("models", nargs="*")
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "headstart")
    args = parser.parse_args()
    photos = sorted(p for p in args.photos.rglob("*") if p.suffix.lower() in (".jpg", ".jpeg", ".png"))
    photos = photos[:: max(1, len(photos) // 10)][:10]
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        environment = dict(os.environ)

        def headstart(*arguments):
            command = [args.binary, *map(str, arguments), "--json"]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
            return [json.loads(line) for line in done.stdout.splitlines()]

        models = args.models
        if not models:
            environment["HEADSTART_HOME"] = str(place / "home")
            for arch, gain in RANDOM.items():
                seeded_weights(arch, gain, place / f"{arch}.pth")
                headstart("models", "import", place / f"{arch}.pth", "--arch", arch)
            models = ["tf_efficientnet_lite0", *RANDOM]
        print(f"{len(photos)} images, ONNX Runtime {onnxruntime.__version__}")
        print("model                     nodes      bytes   same class   max difference   from bytes: same   max difference")
        for model in models:
            answers = headstart("predict", model, *photos, "--top", 100000)
            report = headstart("export", model, "--onnx", place / "plain.onnx")[0]
            headstart("export", model, "--onnx", place / "whole.onnx", "--with-preprocessing")
            row = f"{Path(model).name:24} {report['nodes']:6} {report['bytes']:10}"
            for name in ("plain", "whole"):
                onnx.checker.check_model(place / f"{name}.onnx", full_check=True)
                session = onnxruntime.InferenceSession(place / f"{name}.onnx")
                about = session.get_modelmeta().custom_metadata_map
                labels = json.loads(about["labels"])
                worst, same = 0.0, 0
                if name == "plain":
                    batch = np.stack([pixels(p, about) for p in photos])
                    found = session.run(["probabilities"], {"pixel_values": batch})[0]
                else:
                    upright = [ImageOps.exif_transpose(Image.open(p)).convert("RGB") for p in photos]
                    found = [session.run(["probabilities"], {"image": np.asarray(i)[None]})[0][0] for i in upright]
                for row_found, answer in zip(found, answers):
                    # Two classes of ImageNet may have one name: they are compared in order.
                    expected = sorted((r["label"], r["probability"]) for r in answer["top"])
                    ours = sorted(zip(labels, map(float, row_found)))
                    worst = max(worst, max(abs(a[1] - b[1]) for a, b in zip(expected, ours)))
                    same += labels[int(np.argmax(row_found))] == answer["label"]
                row += f"   {same:2} of {len(photos):2}      {worst:14.2e}" + ("  " if name == "plain" else "")
            print(row, flush=True)


if __name__ == "__main__":
    main()
