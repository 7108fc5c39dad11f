"""Races headstart's trunks against PyTorch and ONNX Runtime on this machine, in one run.

    cargo build --release
    python scripts/compare/forward.py [--networks resnet18,vit_small_patch16_224] [--batch 32] [--threads 2] [--rounds 5]

Every round times each engine once, in turn, on batches of 224-pixel images, so a slow spell of the machine meets all of them.
Before and after each timing a probe asks `headstart bench` for the machine's peak; where either is under 90 % of the best
seen, the timing is done again (five times at most), and said so. The table has medians and their ratios. PyTorch runs the whole
network without its classifier, in inference mode; ONNX Runtime runs the same network, exported with batch norm folded.

Everything by AVX2 only: set HEADSTART_ISA=avx2, ONEDNN_MAX_CPU_ISA=AVX2 and ATEN_CPU_CAPABILITY=avx2, with --engines "PyTorch f32".
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import onnxruntime
import timm
import torch
import torchvision

from probe import Probe, bench

PRECISIONS = ["f32", "bf16", "int8"]


def network(name):
    """The network up to its last layer: torchvision's, or timm's where torchvision has none of the name."""
    if not hasattr(torchvision.models, name):
        return timm.create_model(name, num_classes=0).eval()
    model = getattr(torchvision.models, name)()
    if name.startswith("resnet"):
        model.fc = torch.nn.Identity()
    elif name.startswith("vgg"):
        model.classifier[-1] = torch.nn.Identity()
    else:
        model.classifier = torch.nn.Identity()
    return model.eval()


def rate(run, batch, seconds=2.0):
    """Images a second of the median batch, after one that is not counted."""
    run()
    times, started = [], time.perf_counter()
    while len(times) < 3 or time.perf_counter() - started < seconds:
        before = time.perf_counter()
        run()
        times.append(time.perf_counter() - before)
    return batch / statistics.median(times)


def engines(name, batch, threads, folder):
    """Name -> a function that times that engine once."""
    plain, last = network(name), network(name).to(memory_format=torch.channels_last)
    x = torch.randn(batch, 3, 224, 224)
    x_last = x.to(memory_format=torch.channels_last)
    file = Path(folder) / f"{name}.onnx"
    torch.onnx.export(plain, (x,), file, input_names=["x"], dynamo=True, external_data=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])

    def torch_rate(model, images, half=False):
        def run():
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=half):
                model(images)

        return lambda: rate(run, batch)

    def ours(precision):
        options = ["--precision", precision]
        return lambda: bench(name, batch, threads, 2, *options)["images_per_second"]

    return {
        **{f"headstart {precision}": ours(precision) for precision in PRECISIONS},
        "PyTorch f32 NCHW": torch_rate(plain, x),
        "PyTorch f32 channels_last": torch_rate(last, x_last),
        "PyTorch bf16 autocast": torch_rate(last, x_last, half=True),
        "ONNX Runtime f32": lambda: rate(lambda: session.run(None, {"x": x.numpy()}), batch),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--networks", default="resnet18,resnet50,mobilenet_v2,tf_efficientnet_lite0")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--engines", default="", help="a part of the names of those that race with headstart, as: f32")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    probe = Probe(options.threads)
    for _ in range(3):
        probe()
    print(f"torch {torch.__version__}, onnxruntime {onnxruntime.__version__}, {options.threads} threads, "
          f"batch {options.batch}, 224 px, {options.rounds} rounds, peak {probe.best:.0f} GFLOP/s\n")
    heads = " | ".join(f"headstart {precision} is" for precision in PRECISIONS)
    print(f"| network | engine | images/s (median) | min | max | {heads} |\n" + "| --- " * 8 + "|")
    with tempfile.TemporaryDirectory() as folder:
        for name in options.networks.split(","):
            racers = engines(name, options.batch, options.threads, folder)
            racers = {n: r for n, r in racers.items() if n.startswith("headstart") or options.engines in n}
            found = {engine: [] for engine in racers}
            for _ in range(options.rounds):
                for engine, timing in racers.items():
                    found[engine].append(probe.guarded(timing))
            ours = [statistics.median(found[f"headstart {precision}"]) for precision in PRECISIONS]
            for engine, rates in found.items():
                middle = statistics.median(rates)
                ratios = " | ".join("" if engine.startswith("headstart") else f"{o / middle:.2f}x" for o in ours)
                print(f"| {name} | {engine} | {middle:.1f} | {min(rates):.1f} | {max(rates):.1f} | {ratios} |", flush=True)
    print(f"\n{probe.repeats} timings were repeated because the machine was slow.")


if __name__ == "__main__":
    main()
