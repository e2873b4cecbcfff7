"""Random tensors. Source: ``random`` of iOS15.

The values come from the documented distributions, by torch's generator: they are not the values
that Core ML draws, which are not documented. The same seed gives the same values; a negative one,
the default, draws anew each time.
"""

from __future__ import annotations

import torch

from coreml_assay.mil.ops._arguments import Operation, ints


def _generator(seed: int) -> torch.Generator:
    """A generator that starts from the seed, or from an unpredictable one if it is negative."""
    generator = torch.Generator()
    if seed < 0:
        generator.seed()
    else:
        generator.manual_seed(seed)
    return generator


def _uniform(shape: torch.Tensor | tuple[int, ...], seed: int) -> torch.Tensor:
    """Uniform in [0, 1), float32."""
    return torch.rand(ints(shape), generator=_generator(seed))


def random_bernoulli(*, shape: torch.Tensor, prob: float = 0.5, seed: int = -1) -> torch.Tensor:
    """1 with the given probability, else 0."""
    return (_uniform(shape, seed) < prob).to(torch.float32)


def random_categorical(
    *, x: torch.Tensor, mode: str = "logits", size: int = 1, seed: int = -1
) -> torch.Tensor:
    """Indices drawn, with replacement, by the distributions in the last axis."""
    if mode not in ("logits", "probs"):
        raise ValueError(f"unknown mode {mode!r}")
    weights = torch.softmax(x, -1) if mode == "logits" else x
    flat = weights.reshape(-1, weights.shape[-1])
    drawn = torch.multinomial(flat, size, replacement=True, generator=_generator(seed))
    return drawn.reshape(*x.shape[:-1], size)


def random_normal(
    *, shape: torch.Tensor, mean: float = 0.0, stddev: float = 1.0, seed: int = -1
) -> torch.Tensor:
    """From the normal distribution."""
    return mean + stddev * torch.randn(ints(shape), generator=_generator(seed))


def random_uniform(
    *, shape: torch.Tensor, low: float = 0.0, high: float = 1.0, seed: int = -1
) -> torch.Tensor:
    """From the uniform distribution over [low, high)."""
    return low + (high - low) * _uniform(shape, seed)


RANDOM: dict[str, Operation] = {
    "random_bernoulli": random_bernoulli,
    "random_categorical": random_categorical,
    "random_normal": random_normal,
    "random_uniform": random_uniform,
}
