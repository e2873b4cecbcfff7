"""The Hessian of a layer's squared output error, gathered from calibration inputs as they pass.

With X the inputs, one a row, and N the number of samples, H = (2 / N) X^T X. Only the lower
triangle is computed, in tiles.
"""

from __future__ import annotations

import torch

from coreml_assay.numerics.gptq.products import add_product
from coreml_assay.numerics.gptq.spec import GPTQError, is_finite
from coreml_assay.numerics.gptq.threads import shared_among_threads
from coreml_assay.numerics.gptq.tiles import lower_tiles

_TILE = 128  # columns of a square on the diagonal, half of which is wasted
_FEWEST = 128  # inputs in a product
_BUFFER = 1 << 21  # numbers of inputs, copied at a time so that they stay in a cache
_PADDING = 16  # floats after a row: rows a power of two apart share few places in a cache


class Hessian:
    """H = (2 / N) sum of x x^T over the inputs x of N calibration samples, in float32.

    Sums are taken in the order in which inputs arrive, so how samples are batched and ordered
    changes the result only by float32 rounding: an entry by at most T eps sqrt(H_ii H_jj), with T
    the number of inputs. The number of threads does not change it at all.

    Args:
        columns: the length of an input, which is the number of the weight's columns.
        device: where the sums are kept, by default the CPU.

    Attributes:
        columns: as given.
        samples: how many samples have been seen.

    Raises:
        GPTQError: columns below 1.
    """

    def __init__(self, columns: int, device: torch.device | str | None = None) -> None:
        if columns < 1:
            raise GPTQError(f"columns must be at least 1, got {columns}")
        self.columns = columns
        self.samples = 0
        self._device = device
        padded = torch.zeros(columns, columns + _PADDING, device=device)
        self._sum = padded[:, :columns]  # of x x^T, lower tiles only
        self._tiles = lower_tiles(columns, _TILE)

    def update(self, inputs: torch.Tensor) -> None:
        """Add calibration inputs.

        Args:
            inputs: floating point, shape (tokens, columns), which is one sample, or (samples,
                tokens, columns). They are not changed.

        Raises:
            GPTQError: another shape or dtype, NaN or infinities (the message has the sample's
                index). What was gathered before stays as it is.
        """
        if inputs.ndim not in (2, 3) or inputs.shape[-1] != self.columns:
            raise GPTQError(
                f"inputs must have shape (tokens, {self.columns}) or (samples, tokens, "
                f"{self.columns}), got {tuple(inputs.shape)}"
            )
        if not inputs.is_floating_point():
            raise GPTQError(f"inputs must be floating point, got {inputs.dtype}")
        samples = inputs if inputs.ndim == 3 else inputs[None]
        if not samples.numel():
            return
        self._check_finite(samples)
        x = samples.detach().reshape(-1, self.columns)
        together = min(len(x), max(_FEWEST, _BUFFER // self.columns))
        buffer = torch.empty(together, self.columns + _PADDING, device=self._device)
        with shared_among_threads() as for_each:
            for part in x.split(together):
                tokens = buffer[: len(part), : self.columns].copy_(part)

                def add_tile(tile: tuple[slice, slice], tokens: torch.Tensor = tokens) -> None:
                    rows, columns = tile
                    add_product(self._sum[rows, columns], tokens[:, rows].t(), tokens[:, columns])

                for_each(add_tile, self._tiles)
        self.samples += len(samples)

    def _check_finite(self, samples: torch.Tensor) -> None:
        if is_finite(samples.detach()):
            return
        for index, sample in enumerate(samples):
            if not torch.isfinite(sample).all():
                kind = "NaN" if torch.isnan(sample).any() else "infinite values"
                raise GPTQError(f"calibration sample {self.samples + index} holds {kind}")

    @property
    def lower(self) -> torch.Tensor:
        """N / 2 times the lower triangle of H, which serves GPTQ as well; above it is anything.

        Not a copy, so it changes with `update`.

        Raises:
            GPTQError: as `matrix`.
        """
        if not self.samples:
            raise GPTQError("no calibration sample has been seen, so there is no Hessian")
        if not torch.isfinite(self._sum.diagonal()).all():
            raise GPTQError("the calibration inputs are too large: their squares overflow float32")
        return self._sum

    @property
    def matrix(self) -> torch.Tensor:
        """H, a new float32 tensor of shape (columns, columns), exactly symmetric.

        Raises:
            GPTQError: no sample has been seen, or the sums overflow float32.
        """
        matrix = self.lower * (2 / self.samples)
        for start in range(0, self.columns, _TILE):
            stop = start + _TILE
            tile = matrix[start:stop, start:stop]
            tile.copy_(tile.tril() + tile.tril(-1).t())
            matrix[start:stop, stop:] = matrix[stop:, start:stop].t()
        return matrix
