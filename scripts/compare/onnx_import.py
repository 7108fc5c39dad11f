"""Imports ONNX files of known networks and compares their logits with those of ONNX Runtime.

    cargo build --release
    pip install onnxruntime onnx onnxscript timm
    python scripts/compare/onnx_import.py [--binary FILE] [--folder DIR] [NETWORK ...]

NETWORK is a name of torchvision, or `timm:NAME`; without any, those of the list. Each gets random weights and batch norm statistics
(seed 0) and is exported by both exporters of torch.onnx with an open batch. It is imported into a home that is removed again, and
`headstart embed` computes the features of four images of noise; with the imported classifier they give the logits. Prints for each
the relative L2 distance, or in which words it is refused. With --folder the exported files are kept there for another run.
"""

import argparse
import json
import os
import subprocess
import tempfile
import warnings
from pathlib import Path

import numpy as np
import onnxruntime
import timm
import torch
import torchvision
from PIL import Image
from safetensors.numpy import load_file

ROOT = Path(__file__).resolve().parents[2]
MEAN, STD = np.float32([0.485, 0.456, 0.406]), np.float32([0.229, 0.224, 0.225])
NETWORKS = [
    *("resnet18", "resnet50", "resnext50_32x4d", "mobilenet_v2", "mobilenet_v3_small", "mobilenet_v3_large", "mnasnet1_0"),
    *("vgg11_bn", "efficientnet_b0", "efficientnet_v2_s", "densenet121", "convnext_tiny", "regnet_y_400mf", "googlenet"),
    *("shufflenet_v2_x1_0", "squeezenet1_1", "vit_b_16", "swin_t", "alexnet"),
    *("timm:tf_efficientnet_lite0", "timm:vit_tiny_patch16_224", "timm:deit_tiny_patch16_224", "timm:mobilenetv3_large_100"),
    *("timm:repvgg_a0", "timm:convnext_atto", "timm:ghostnet_100", "timm:resnetv2_50", "timm:mixer_s32_224"),
    *("timm:vit_small_patch14_reg4_dinov2.lvd142m", "timm:efficientnet_b0", "timm:regnety_002", "timm:hrnet_w18_small"),
]


def network(name):
    torch.manual_seed(0)
    if name.startswith("timm:"):
        size = dict(img_size=224, num_classes=10) if "dinov2" in name else {}
        net = timm.create_model(name[5:], pretrained=False, **size)
    else:
        extra = dict(init_weights=True, aux_logits=False) if name == "googlenet" else {}
        net = getattr(torchvision.models, name)(weights=None, **extra)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
        if isinstance(module, (torch.nn.Linear, torch.nn.Conv2d)) and module.bias is not None:
            module.bias.data.normal_(0, 0.02)
        if isinstance(module, torch.nn.LayerNorm):
            module.weight.data.uniform_(0.5, 1.5)
            module.bias.data.normal_(0, 0.1)
    return net.eval()


def export(net, path, dynamo):
    options = dict(dynamo=False, input_names=["x"], dynamic_axes={"x": {0: "batch"}}, opset_version=17)
    if dynamo:
        options = dict(dynamo=True, dynamic_shapes=({0: torch.export.Dim("batch")},), external_data=False, verbose=False)
    torch.onnx.export(net, (torch.randn(2, 3, 224, 224),), path, **options)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("networks", nargs="*", default=NETWORKS)
    parser.add_argument("--binary", type=Path, default=ROOT / "target" / "release" / "headstart")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    warnings.filterwarnings("ignore")
    with tempfile.TemporaryDirectory() as place:
        place = Path(place)
        files = args.folder or place
        files.mkdir(exist_ok=True)
        environment = {**os.environ, "HEADSTART_HOME": str(place / "home")}
        noise = np.random.default_rng(0).integers(0, 256, (4, 256, 256, 3), np.uint8)
        for i, image in enumerate(noise):
            folder = place / "data" / "ab"[i % 2]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{i}.png")
        batch = ((noise[:, 16:240, 16:240].astype(np.float32) / 255 - MEAN) / STD).transpose(0, 3, 1, 2)

        def headstart(*arguments):
            return subprocess.run([args.binary, *map(str, arguments)], capture_output=True, text=True, env=environment)

        for name in args.networks:
            for exporter in ("torchscript", "dynamo"):
                path = files / f"{name.replace(':', '_')}.{exporter}.onnx"
                row = f"{name:44} {exporter:12}"
                try:
                    if not path.exists():
                        export(network(name), path, exporter == "dynamo")
                except Exception as error:
                    print(row, "is not exported:", str(error).splitlines()[0][:100], flush=True)
                    continue
                done = headstart("models", "import", path, "--name", "net", "--json")
                if done.returncode:
                    print(row, "refused:", done.stderr.strip().split(": ", 2)[-1][:260], flush=True)
                    continue
                report = json.loads(done.stdout)
                done = headstart("embed", place / "data", "--backbone", "net", "-o", place / "f.npy")
                rows = [line.split("\t")[0] for line in (place / "f.rows.tsv").read_text().splitlines()[1:]]
                order = [int(Path(row).stem) for row in rows]
                weights = load_file(place / "home" / "networks" / "net.safetensors")
                weight, bias = (weights[f"{report['classifier']}.{part}"].astype(np.float64) for part in ("weight", "bias"))
                found = np.load(place / "f.npy").astype(np.float64) @ weight.T + bias
                session = onnxruntime.InferenceSession(path)
                expected = session.run(None, {session.get_inputs()[0].name: batch})[0][order]
                apart = np.linalg.norm(found - expected) / np.linalg.norm(expected)
                print(row, f"{apart:.1e}  {report['layers']} layers, {report['parameters']} parameters", flush=True)


if __name__ == "__main__":
    main()
