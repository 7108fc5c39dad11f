"""Races headstart's training steps against PyTorch's on this machine, in one run.

    cargo build --release
    python scripts/compare/finetune.py [--races all-resnet18,all-lite0,layer4,head] [--batch 32] [--threads 2] [--rounds 5]
        [--engines "PyTorch f32"]

A step is forward, mean cross-entropy of 10 classes, backward and SGD with momentum on a batch of 224-pixel images of random values; its rate
is that of the median step of two seconds or more. Every round times each engine once, in turn; `probe.py` repeats timings that
a slow spell of the machine met. The table has medians, and how many times as fast headstart is.

- `all-resnet18`, `all-lite0`: everything learns.
- `layer4`: ResNet-18's last stage and its classifier learn. PyTorch runs the frozen part in every step, without gradients and in
  eval mode; headstart has its activations in the cache from the first epoch on, so a step begins there.
- `head`: the classifier learns, else as `layer4`.

"by the batch" and "fixed" say by which statistics trained norms normalise: those of the batch, or the running ones. PyTorch's are
by the batch where there are any, which is its faster way.
"""

import argparse
import statistics
import time

import timm
import torch
import torchvision
from torch import nn

from probe import Probe, bench

# Race -> the network, what learns besides the classifier.
RACES = {
    "all-resnet18": ("resnet18", "all"),
    "all-lite0": ("tf_efficientnet_lite0", "all"),
    "layer4": ("resnet18", "layer4"),
    "head": ("resnet18", None),
}
SECONDS, CLASSES = 2.0, 10


def network(name):
    if name.startswith("tf_"):
        return timm.create_model(name, num_classes=CLASSES)
    return getattr(torchvision.models, name)(num_classes=CLASSES)


def torch_step(name, unfrozen, batch, last, half, fixed):
    """A function that takes one step."""
    layout = torch.channels_last if last else torch.contiguous_format
    model = network(name).to(memory_format=layout).train(unfrozen == "all" and not fixed)
    if unfrozen != "all":
        trained = ("fc.",) if unfrozen is None else ("fc.", f"{unfrozen}.")
        for parameter_name, parameter in model.named_parameters():
            parameter.requires_grad = parameter_name.startswith(trained)
        if unfrozen and not fixed:
            getattr(model, unfrozen).train()
    moving = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(moving, lr=1e-9, momentum=0.9)
    x = torch.randn(batch, 3, 224, 224).to(memory_format=layout)
    labels = torch.arange(batch) % CLASSES

    def step():
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            loss = nn.functional.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return step


def rate(step, batch):
    """Images a second of the median step, after one that is not counted."""
    step()
    times, started = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < SECONDS:
        before = time.perf_counter()
        step()
        times.append(time.perf_counter() - before)
    return batch / statistics.median(times)


def engines(race, batch, threads):
    """Name -> a function that times that engine once."""
    name, unfrozen = RACES[race]
    options = ["--train"] + (["--unfreeze", unfrozen] if unfrozen else [])
    options += [] if unfrozen == "all" else ["--cached"]

    def ours(*more):
        return lambda: bench(name, batch, threads, SECONDS, *options, *more)["images_per_second"]

    def torchs(fixed, last=True, half=False):
        return lambda: rate(torch_step(name, unfrozen, batch, last, half, fixed), batch)

    found = {"headstart f32, fixed": ours()}
    if unfrozen:
        found["headstart f32, by the batch"] = ours("--batch-statistics")
    fixed, by = unfrozen is None, "by the batch" if unfrozen else "fixed"
    found[f"PyTorch f32 NCHW, {by}"] = torchs(fixed, last=False)
    found[f"PyTorch f32 channels_last, {by}"] = torchs(fixed)
    found[f"PyTorch bf16 autocast, {by}"] = torchs(fixed, half=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--races", default=",".join(RACES))
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", default="", help="race only the engines of PyTorch whose name has this in it")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    probe = Probe(options.threads)
    for _ in range(3):
        probe()
    print(f"torch {torch.__version__}, {options.threads} threads, batch {options.batch}, 224 px, {options.rounds} rounds, "
          f"peak {probe.best:.0f} GFLOP/s\n")
    print("| race | engine | images/s (median) | min | max | headstart, fixed, is | headstart, by the batch, is |")
    print("| --- " * 7 + "|")
    for race in options.races.split(","):
        racers = {
            engine: timing
            for engine, timing in engines(race, options.batch, options.threads).items()
            if engine.startswith("headstart") or options.engines in engine
        }
        found = {engine: [] for engine in racers}
        for _ in range(options.rounds):
            for engine, timing in racers.items():
                found[engine].append(probe.guarded(timing))
        ours = [statistics.median(rates) for engine, rates in found.items() if engine.startswith("headstart")]
        for engine, rates in found.items():
            middle = statistics.median(rates)
            ratios = ["" if engine.startswith("headstart") else f"{o / middle:.2f}x" for o in ours]
            cells = " | ".join((ratios + [""])[:2])
            print(f"| {race} | {engine} | {middle:.1f} | {min(rates):.1f} | {max(rates):.1f} | {cells} |", flush=True)
    print(f"\n{probe.repeats} timings were repeated because the machine was slow.")


if __name__ == "__main__":
    main()
