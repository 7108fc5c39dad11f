"""Fine-tunes the same network by the same recipe in headstart and, written by hand, in PyTorch, and compares the accuracies.

    cargo build --release
    python scripts/compare/accuracy.py DATA [--epochs 10] [--threads 2]

DATA has train/CLASS/* and val/CLASS/*. Both begin at EfficientNet-Lite0 and the head that `headstart train` fits on its
features, and train everything by the recipe `lp-ft`: SGD with Nesterov momentum 0.9 at 0.01, a fifth less for each stage
below the classifier, weight decay 1e-4 on all but norms and biases, a tenth of the steps to warm up and half a cosine
down, gradients clipped to a norm of 1, batches of 32, norms by their running statistics, no augmentation. The best epoch
counts on both sides. Prints the frozen head's accuracy and, epoch by epoch, both.
"""

import argparse
import json
import math
import subprocess
import tempfile
from pathlib import Path

import safetensors.torch
import timm
import torch
import torchvision
from torchvision import transforms

BINARY = Path(__file__).resolve().parents[2] / "target" / "release" / "headstart"
ARCH = "tf_efficientnet_lite0"
MEAN, STD, SIDES = [127 / 255] * 3, [128 / 255] * 3, (256, 224)
LR, DECAY, WEIGHT_DECAY, MOMENTUM, CLIP, WARMUP, BATCH = 0.01, 0.8, 1e-4, 0.9, 1.0, 0.1, 32
STAGES = ["conv_stem"] + [f"blocks.{i}" for i in range(7)] + ["conv_head", "classifier"]


def headstart(*arguments):
    """The JSON of one command."""
    done = subprocess.run([BINARY, *map(str, arguments), "--json"], check=True, stdout=subprocess.PIPE)
    return json.loads(done.stdout)


def stage(name):
    """The stage of a parameter: norms belong to the convolution before them."""
    name = name.replace("bn1", "conv_stem", 1) if name.startswith("bn1") else name
    name = name.replace("bn2", "conv_head", 1) if name.startswith("bn2") else name
    return next(i for i, s in enumerate(STAGES) if name.startswith(f"{s}."))


def groups(model):
    """A group a parameter, with its own rate and decay."""
    last = len(STAGES) - 1
    return [
        {
            "params": [parameter],
            "share": DECAY ** (last - stage(name)),
            "weight_decay": WEIGHT_DECAY if parameter.dim() > 1 else 0.0,
        }
        for name, parameter in model.named_parameters()
    ]


def share(step, steps, warmup):
    """Of the rate, as headstart's schedule has it."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(steps - warmup, 1)))


def accuracy(model, loader):
    model.eval()
    with torch.inference_mode():
        right = sum((model(x).argmax(1) == y).sum().item() for x, y in loader)
    return right / len(loader.dataset)


def pytorch(model_file, data, epochs, threads):
    """Accuracies: before the first epoch and after each."""
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    classes = len(list((data / "train").iterdir()))
    model = timm.create_model(ARCH, num_classes=classes)
    tensors = {k: v.float() for k, v in safetensors.torch.load_file(model_file).items() if not k.startswith("golden.")}
    missing, unexpected = model.load_state_dict(tensors, strict=False)
    if unexpected or any(not name.endswith("num_batches_tracked") for name in missing):
        raise SystemExit(f"{model_file}: missing {missing}, unexpected {unexpected}")
    cubic = transforms.InterpolationMode.BICUBIC
    to_input = transforms.Compose(
        [transforms.Resize(SIDES[0], cubic), transforms.CenterCrop(SIDES[1]), transforms.ToTensor(), transforms.Normalize(MEAN, STD)]
    )
    sets = {s: torchvision.datasets.ImageFolder(data / s, to_input) for s in ("train", "val")}
    load = {s: torch.utils.data.DataLoader(sets[s], BATCH, shuffle=s == "train") for s in sets}
    model = model.to(memory_format=torch.channels_last)
    optimizer = torch.optim.SGD(groups(model), lr=LR, momentum=MOMENTUM, nesterov=True)
    steps = epochs * len(load["train"])
    warmup, step, found = round(WARMUP * steps), 0, [accuracy(model, load["val"])]
    print(f"PyTorch begins at {100 * found[0]:.2f} %", flush=True)
    for epoch in range(epochs):
        # Norms stay in eval mode: they normalise by their running statistics, and those do not move.
        model.eval()
        for images, targets in load["train"]:
            for group in optimizer.param_groups:
                group["lr"] = LR * group["share"] * share(step, steps, warmup)
            optimizer.zero_grad()
            images = images.to(memory_format=torch.channels_last)
            torch.nn.functional.cross_entropy(model(images), targets).backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            step += 1
        found.append(accuracy(model, load["val"]))
        print(f"PyTorch epoch {epoch + 1}: {100 * found[-1]:.2f} %", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        probe, tuned = Path(place) / "probe.safetensors", Path(place) / "tuned.safetensors"
        frozen = headstart("train", options.data, "--backbone", ARCH, "--threads", options.threads, "-o", probe)
        print(f"frozen head: {100 * frozen['val']['accuracy']:.2f} %", flush=True)
        arguments = ["finetune", probe, options.data, "--unfreeze", "all", "--epochs", options.epochs]
        ours = headstart(*arguments, "--threads", options.threads, "-o", tuned)
        for epoch in ours["epochs"]:
            print(f"headstart epoch {epoch['epoch']}: {100 * epoch['val_accuracy']:.2f} %", flush=True)
        theirs = pytorch(probe, options.data, options.epochs, options.threads)
    best = (100 * ours["val"]["accuracy"], 100 * max(theirs))
    gain = best[0] - 100 * frozen["val"]["accuracy"]
    print(f"headstart {best[0]:.2f} % ({gain:+.2f} over the frozen head), PyTorch {best[1]:.2f} %: {best[0] - best[1]:+.2f}")


if __name__ == "__main__":
    main()
