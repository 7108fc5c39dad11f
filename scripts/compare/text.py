"""Races `headstart embed` against PyTorch's transformers on the sentences of a data set, on this machine, in one run.

    cargo build --release
    python scripts/compare/text.py FOLDER_OF_A_TEXT_ENCODER [--data ../shared/data/text/sst2] [--threads 2] [--rounds 3]

Sentences of train and test, `sentence<TAB>label` without a header. Every round times each engine once, in turn. PyTorch gets
batches of 64 of the sentences sorted by length, padded to the longest of each; tokenising counts for both, reading the weights
for neither. headstart's time is that of its extraction (`seconds` of `embed --json`), with an empty cache. The embeddings of
both are compared first: the largest relative L2 distance of a sentence is printed, of the mean over tokens, of length 1.
"""

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
import transformers
from transformers import AutoModel, AutoTokenizer

from probe import BINARY, Probe

BATCH = 64


def sentences(data):
    lines = [line for part in ("train", "test") for line in (data / f"{part}.tsv").read_text().split("\n") if line]
    return [line.split("\t")[0].strip() for line in lines]


class PyTorch:
    def __init__(self, folder, most):
        self.tokenizer, self.most = AutoTokenizer.from_pretrained(folder), most
        self.model = AutoModel.from_pretrained(folder).eval().float()

    def embed(self, texts):
        order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
        found = [None] * len(texts)
        with torch.inference_mode():
            for first in range(0, len(order), BATCH):
                some = order[first : first + BATCH]
                batch = self.tokenizer(
                    [texts[i] for i in some], padding=True, truncation=True, max_length=self.most, return_tensors="pt"
                )
                hidden = self.model(**batch).last_hidden_state
                mask = batch["attention_mask"][:, :, None].float()
                mean = (hidden * mask).sum(1) / mask.sum(1)
                for i, row in zip(some, torch.nn.functional.normalize(mean).numpy()):
                    found[i] = row
        return np.stack(found)

    def rate(self, texts):
        started = time.perf_counter()
        self.embed(texts)
        return len(texts) / (time.perf_counter() - started)


def headstart(folder, table, threads, precision):
    """The embeddings in the table's order, and sentences a second."""
    with tempfile.TemporaryDirectory() as home:
        output = Path(home) / "features.npy"
        command = [BINARY, "embed", table, "--backbone", folder, "--text-column", "1", "--label-column", "2"]
        command += ["--precision", precision, "--threads", str(threads), "-o", output, "--json"]
        environment = {**os.environ, "HEADSTART_HOME": home}
        report = json.loads(subprocess.run(command, check=True, capture_output=True, env=environment).stdout)
        assert report["cached"] == 0, report
        return np.load(output), report["n"] / report["seconds"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("encoder", type=Path)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/text/sst2"))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sentences", type=int, default=0, help="as many of them, evenly spaced; 0 for all")
    parser.add_argument("--most", type=int, default=256, help="tokens of a sentence")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    # Of equal sentences the second comes from the cache: each is there once.
    texts = list(dict.fromkeys(sentences(options.data)))
    if 0 < options.sentences < len(texts):
        texts = [texts[i * len(texts) // options.sentences] for i in range(options.sentences)]
    engine, probe = PyTorch(options.encoder, options.most), Probe(options.threads)
    with tempfile.TemporaryDirectory() as folder:
        table = Path(folder) / "all.tsv"
        table.write_text("".join(f"{text}\t{i % 2}\n" for i, text in enumerate(texts)))
        some = [i * len(texts) // 100 for i in range(100)]
        for precision in ("f32", "bf16", "int8"):
            found, _ = headstart(options.encoder, table, options.threads, precision)
            expected = engine.embed([texts[i] for i in some])
            apart = np.linalg.norm(found[some] - expected, axis=1) / np.linalg.norm(expected, axis=1)
            print(f"{precision}: 100 sentences, relative L2 at most {apart.max():.2e}, mean {apart.mean():.2e}", flush=True)
        racers = {
            "headstart f32": lambda: headstart(options.encoder, table, options.threads, "f32")[1],
            "headstart bf16": lambda: headstart(options.encoder, table, options.threads, "bf16")[1],
            "headstart int8": lambda: headstart(options.encoder, table, options.threads, "int8")[1],
            "PyTorch f32": lambda: engine.rate(texts),
        }
        for _ in range(3):
            probe()
        rates = {name: [] for name in racers}
        for _ in range(options.rounds):
            for name, timing in racers.items():
                rates[name].append(probe.guarded(timing))
                print(f"{name}: {rates[name][-1]:.1f} sentences/s", flush=True)
    print(f"\ntorch {torch.__version__}, transformers {transformers.__version__}, {options.threads} threads, "
          f"{len(texts)} sentences, batches of {BATCH}, {options.rounds} rounds, peak {probe.best:.0f} GFLOP/s\n")
    print("| engine | sentences/s (median) | min | max | by PyTorch |\n| --- | --- | --- | --- | --- |")
    base = statistics.median(rates["PyTorch f32"])
    for name, found in rates.items():
        middle = statistics.median(found)
        print(f"| {name} | {middle:.0f} | {min(found):.0f} | {max(found):.0f} | {middle / base:.2f}x |")
    print(f"\n{probe.repeats} timings were repeated because the machine was slow.")


if __name__ == "__main__":
    main()
