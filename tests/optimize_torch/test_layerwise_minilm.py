"""A real model: calibrated at 4 bits, MiniLM is nearer to its original than rounded to nearest."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from coreml_assay.accuracy import sentences
from coreml_assay.optimize.torch.layerwise_compression import (
    LayerwiseCompressor,
    LayerwiseCompressorConfig,
)

TOKENS = 64
DOCS = Path(__file__).parents[2] / "docs"


def minilm():
    """The model of the wheel, and its vocabulary."""
    if not sentences.MINILM.is_met:
        pytest.skip(f"needs: {sentences.MINILM.install_command}")
    return sentences.load()


def batches(page, vocabulary):
    """The words of a page as tokens, 64 a row and 4 rows a batch."""
    text = (DOCS / page).read_text(encoding="utf-8").lower()
    words = " ".join(re.findall(r"\w+|[^\w\s]", text))
    tokens = sentences.word_pieces(words, vocabulary)
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
