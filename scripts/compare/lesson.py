"""The lesson as a whole, PyTorch running the lesson's own code against `headstart train`, on this machine.

    cargo build --release
    python scripts/compare/lesson.py CIFAR_FOLDER [--images 5000] [--threads 2] [--epochs 3]

CIFAR_FOLDER has train/CLASS/*.jpg and test/CLASS/*.jpg. The lesson: ResNet-18 with ImageNet's weights, everything frozen, a new
`fc`, images resized to 224 pixels, SGD at 1e-3 with momentum 0.9, batches of 32, each epoch over all images with an evaluation
at its end. PyTorch runs the whole network in every epoch; headstart runs it once and the epochs on the cached features. Both begin with
nothing cached, read the same files and are given the same number of threads; they take turns. Weights: the file of --weights, or
random ones, which give no accuracy worth comparing but the same times.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
import torchvision
from torchvision import transforms

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "headstart"
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def sample(source, folder, images):
    """The first images of each class, as links: `images` for training and a fifth as many for testing."""
    for split, count in (("train", images), ("test", images // 5)):
        classes = sorted(p.name for p in (source / split).iterdir())
        for name in classes:
            target = folder / {"train": "train", "test": "val"}[split] / name
            target.mkdir(parents=True)
            for file in sorted((source / split / name).iterdir())[: count // len(classes)]:
                (target / file.name).symlink_to(file.resolve())


def network(weights):
    model = torchvision.models.resnet18()
    if weights:
        model.load_state_dict(torch.load(weights, weights_only=True))
    for parameter in model.parameters():
        parameter.requires_grad = False
    return model


def pytorch(folder, weights, epochs, threads):
    """The lesson's loop; seconds and accuracy of the last epoch."""
    started = time.perf_counter()
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = network(weights)
    model.fc = torch.nn.Linear(512, 10)
    to_input = transforms.Compose(
        [transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    data = {s: torchvision.datasets.ImageFolder(folder / s, to_input) for s in ("train", "val")}
    load = {s: torch.utils.data.DataLoader(data[s], 32, shuffle=s == "train", num_workers=threads) for s in data}
    optimizer = torch.optim.SGD(model.fc.parameters(), lr=1e-3, momentum=0.9)
    accuracy = 0.0
    for _ in range(epochs):
        model.train()
        for images, targets in load["train"]:
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(model(images), targets).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            right = sum((model(images).argmax(1) == targets).sum().item() for images, targets in load["val"])
        accuracy = right / len(data["val"])
    return time.perf_counter() - started, accuracy


def headstart(folder, weights, epochs, threads, precision):
    """`headstart train` with an empty home; seconds and accuracy."""
    with tempfile.TemporaryDirectory() as home:
        command = [BINARY, "train", folder, "--backbone", "resnet18", "--weights", weights, "--optimizer", "sgd"]
        command += ["--lr", "0.001", "--epochs", str(epochs), "--batch-size", "32", "--threads", str(threads)]
        command += ["--precision", precision, "--json", "-o", Path(home) / "model.safetensors"]
        started = time.perf_counter()
        environment = {**os.environ, "HEADSTART_HOME": home}
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, env=environment)
        return time.perf_counter() - started, json.loads(done.stdout)["val"]["accuracy"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cifar", type=Path)
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="resnet18-f37072fd.pth")
    parser.add_argument("--only-headstart", action="store_true", help="for all 50,000 images")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder, weights = Path(place) / "data", options.weights
        sample(options.cifar, folder, options.images)
        if weights is None:
            weights = Path(place) / "random.pth"
            torch.manual_seed(0)
            torch.save(torchvision.models.resnet18().state_dict(), weights)
            print("random weights: the times compare, the accuracies do not", file=sys.stderr)
        racers = {} if options.only_headstart else {
            "PyTorch f32": lambda: pytorch(folder, weights, options.epochs, options.threads)
        }
        for precision in ("f32", "auto"):
            racers[f"headstart {precision}"] = lambda p=precision: headstart(
                folder, weights, options.epochs, options.threads, p
            )
        found = {name: [] for name in racers}
        for _ in range(options.rounds):
            for name, race in racers.items():
                found[name].append(race())
    print(f"{options.images} images, {options.epochs} epochs, {options.threads} threads, torch {torch.__version__}\n")
    print("| engine | seconds (best) | images a second and epoch | accuracy | headstart is |\n| --- | --- | --- | --- | --- |")
    seconds = {name: min(runs)[0] for name, runs in found.items()}
    for name, runs in found.items():
        rate = options.images * options.epochs / seconds[name]
        reference = seconds.get("PyTorch f32")
        ratio = f"{reference / seconds[name]:.1f}x" if reference and name.startswith("headstart") else ""
        print(f"| {name} | {seconds[name]:.1f} | {rate:.1f} | {100 * runs[0][1]:.1f} % | {ratio} |")


if __name__ == "__main__":
    main()
