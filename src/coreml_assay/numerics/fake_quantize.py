"""Fake quantization for training: observers of ranges, and rounding that lets gradients through.

Values stay floating point but lie on the grid. PyTorch's own operations do the rounding with a
straight-through gradient; the learnable form follows LSQ and LSQ+. Needs PyTorch.

Source: straight-through estimation, arXiv 1308.3432; LSQ, arXiv 1902.08153; LSQ+, arXiv 2004.09576.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn

from coreml_assay.numerics.grid import Grid

EPSILON = float(torch.finfo(torch.float32).eps)
"""No scale is smaller: what is observed may be zero throughout."""


def parameters_of_range(
    low: torch.Tensor, high: torch.Tensor, grid: Grid, symmetric: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and zero point of ranges that are widened to hold zero.

    Symmetric: s = max(-A, B) / ((hi - lo) / 2), and the zero point is the grid's middle (0, 128
    for uint8, 7 for uint4). Otherwise s = (B - A) / (hi - lo), z = lo - round(A / s).

    Args:
        low: float32, shape (n,), A before it is widened.
        high: float32, shape (n,), B likewise.
        grid: with all its codes, so not `Grid.symmetric`.
        symmetric: whether the range is spread to both sides of zero alike.

    Returns:
        Scale, float32, and zero point, int32, both of shape (n,).

    Source: coremltools 9.0, LinearQuantizer.
    """
    low, high = low.clamp(max=0), high.clamp(min=0)
    if symmetric:
        scale = torch.maximum(-low, high) / (grid.steps / 2)
        middle = 0 if grid.signed else (128 if grid.bits == 8 else grid.highest // 2)
        return scale.clamp(min=EPSILON), torch.full_like(scale, middle, dtype=torch.int32)
    scale = ((high - low) / grid.steps).clamp(min=EPSILON)
    zero_point = grid.lowest - torch.round(low / scale).to(torch.int32)
    return scale, zero_point.clamp(grid.lowest, grid.highest)


Combine = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def round_to_grid(
    x: torch.Tensor, scale: torch.Tensor, zero_point: torch.Tensor, grid: Grid
) -> torch.Tensor:
    """S * (clip(round(x / s) + z) - z), with a gradient of 1 where nothing was clipped, else of 0.

    PyTorch's own fake quantization multiplies by 1 / s and adds z before it rounds. An ML program
    does neither, and values half between two codes, as pooling makes them, would go another way.

    Args:
        x: floating point, any shape.
        scale: float32, rank 0.
        zero_point: int32, rank 0.
        grid: the codes.

    Returns:
        Values of x's shape and dtype.

    Source: ``quantize`` and ``dequantize`` of iOS17's operations; arXiv 1308.3432.
    """
    rounded: torch.Tensor = _RoundToGrid.apply(x, scale, zero_point, grid.lowest, grid.highest)
    return rounded


class _RoundToGrid(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        scale: torch.Tensor,
        zero_point: torch.Tensor,
        lowest: int,
        highest: int,
    ) -> torch.Tensor:
        steps = torch.div(x, scale).round_()
        clipped = torch.clamp(steps, lowest - zero_point, highest - zero_point)
        ctx.save_for_backward(clipped == steps)
        return clipped.mul_(scale)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        (inside,) = ctx.saved_tensors
        return gradients[0] * inside, None, None, None, None


class _LoadsOtherStates(nn.Module):
    """Loads the states of torch.ao's namesakes, too, which have more entries and other ranks."""

    _no_entries: tuple[str, ...] = ("eps",)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *others: Any) -> None:
        for name in self._no_entries:
            state_dict.pop(prefix + name, None)
        own = {**self._buffers, **self._parameters}
        for name, tensor in own.items():
            given = state_dict.get(prefix + name)
            if given is not None and tensor is not None and given.numel() == tensor.numel():
                state_dict[prefix + name] = given.reshape(tensor.shape)
        super()._load_from_state_dict(state_dict, prefix, *others)


class RangeObserver(_LoadsOtherStates):
    """Keeps the range of what it sees: of everything, or of each channel.

    Args:
        update: "min_max" keeps the widest range; "moving_average_min_max" moves by a hundredth of
            the difference with each batch; "ema_min_max" keeps nine tenths of the old range.
        channels: how many channels have a range of their own; None for one range.
        axis: of the channels.

    Attributes:
        min_val: float32, shape (channels,) or (1,); infinite before anything is seen.
        max_val: likewise.
    """

    def __init__(self, update: str, channels: int | None = None, axis: int = 0) -> None:
        super().__init__()
        self.update = update
        self.axis = None if channels is None else axis
        self.synchronize = True  # among the processes of distributed training
        self.register_buffer("min_val", torch.full((channels or 1,), math.inf))
        self.register_buffer("max_val", torch.full((channels or 1,), -math.inf))

    @property
    def has_seen_data(self) -> bool:
        """Whether anything was observed."""
        return bool(((self.min_val != math.inf) | (self.max_val != -math.inf)).any())

    @property
    def is_finite(self) -> bool:
        """Whether neither NaN nor infinity is an end of a range."""
        return bool((self.min_val.isfinite() & self.max_val.isfinite()).all())

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Take a batch into the range; it is returned as it is. An empty one changes nothing."""
        if not x.numel():
            return x
        values = x.detach().to(self.min_val.dtype)
        if self.axis is None:
            low, high = torch.aminmax(values)
        else:
            low, high = torch.aminmax(values.movedim(self.axis, 0).flatten(1), dim=1)
        low, high = self._agreed(low.reshape(-1), high.reshape(-1))
        if self.has_seen_data:
            low = self._updated(self.min_val, low, torch.minimum)
            high = self._updated(self.max_val, high, torch.maximum)
        self.min_val.copy_(low)
        self.max_val.copy_(high)
        return x

    def _updated(self, old: torch.Tensor, new: torch.Tensor, wider: Combine) -> torch.Tensor:
        if self.update == "min_max":
            return wider(old, new)
        if self.update == "moving_average_min_max":
            return old + 0.01 * (new - old)
        return 0.9 * old + 0.1 * new

    def _agreed(self, low: torch.Tensor, high: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """The batch's range over all processes of distributed training."""
        distributed = torch.distributed
        if self.synchronize and distributed.is_available() and distributed.is_initialized():
            distributed.all_reduce(low, op=distributed.ReduceOp.MIN)
            distributed.all_reduce(high, op=distributed.ReduceOp.MAX)
        return low, high


class FakeQuantizerBase(_LoadsOtherStates):
    """What can observe and simulate, each switched by a buffer so that states carry it.

    Attributes:
        grid: the codes.
        symmetric: whether the zero point is the middle of the grid.
        milestones: the steps at which a quantizer's schedule switches it, None for never.
        fake_quant_enabled: uint8, shape (1,); whether forward rounds.
        observer_enabled: uint8, shape (1,); whether forward observes.
    """

    def __init__(self, grid: Grid, symmetric: bool) -> None:
        super().__init__()
        self.grid = grid
        self.symmetric = symmetric
        self.milestones: list[int] | None = None
        self.register_buffer("fake_quant_enabled", torch.ones(1, dtype=torch.uint8))
        self.register_buffer("observer_enabled", torch.ones(1, dtype=torch.uint8))

    def switch(self, *, observe: bool | None = None, simulate: bool | None = None) -> None:
        """Switch observing or simulating on or off; None leaves it as it is."""
        if observe is not None:
            self.observer_enabled.fill_(int(observe))
        if simulate is not None:
            self.fake_quant_enabled.fill_(int(simulate))

    @property
    def has_parameters(self) -> bool:
        """Whether scale and zero point stand for something that was seen."""
        return True

    def final_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale, float32, and zero point, int32, as they are to be written down."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """x, observed if observing, and on the grid if simulating."""
        if self.observer_enabled[0]:
            self.observe(x)
        return self.simulate(x) if self.fake_quant_enabled[0] else x

    def observe(self, x: torch.Tensor) -> None:
        """Take x into what the parameters are set by; here, parameters that are known stay."""

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        """X on the grid, letting gradients through."""
        return self.rounded(x)

    def rounded(self, x: torch.Tensor) -> torch.Tensor:
        """X on the grid of the final parameters, whatever is switched on."""
        scale, zero_point = self.final_parameters()
        lowest, highest = self.grid.lowest, self.grid.highest
        if self.channel_axis is None:
            return round_to_grid(x, scale.reshape(()), zero_point.reshape(()), self.grid)
        return torch.fake_quantize_per_channel_affine(
            x, scale, zero_point, self.channel_axis, lowest, highest
        )

    @property
    def channel_axis(self) -> int | None:
        """The axis whose entries have scales of their own, or None."""
        return None


class FixedFakeQuantizer(FakeQuantizerBase):
    """Rounds to a grid that is known beforehand, as for the outputs of a sigmoid."""

    _no_entries = ("eps", "activation_post_process.scale", "activation_post_process.zero_point")

    def __init__(self, scale: float, zero_point: int) -> None:
        super().__init__(Grid(8, signed=False, symmetric=False), symmetric=False)
        self.register_buffer("scale", torch.tensor([scale]))
        self.register_buffer("zero_point", torch.tensor([zero_point], dtype=torch.int32))

    def final_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point as they are."""
        return self.scale, self.zero_point


class FakeQuantizer(FakeQuantizerBase):
    """Rounds to the grid over the observed range; gradients are 1 inside of it and 0 outside.

    Attributes:
        scale: float32, shape (channels,) or (1,).
        zero_point: int32, likewise.
        activation_post_process: the observer.
    """

    def __init__(self, grid: Grid, symmetric: bool, observer: RangeObserver) -> None:
        super().__init__(grid, symmetric)
        self.activation_post_process = observer
        self.register_buffer("scale", torch.ones_like(observer.min_val))
        self.register_buffer("zero_point", torch.zeros_like(observer.min_val, dtype=torch.int32))

    @property
    def channel_axis(self) -> int | None:
        """The observer's."""
        return self.activation_post_process.axis

    @property
    def has_parameters(self) -> bool:
        """Whether the observer has seen anything."""
        return self.activation_post_process.has_seen_data

    def final_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Scale and zero point as they are."""
        return self.scale, self.zero_point

    def observe(self, x: torch.Tensor) -> None:
        """Take x into the range and set the parameters by it."""
        observer = self.activation_post_process
        observer(x)
        if observer.has_seen_data:
            scale, zero_point = parameters_of_range(
                observer.min_val, observer.max_val, self.grid, self.symmetric
            )
            self.scale.copy_(scale)
            self.zero_point.copy_(zero_point)


class _ScaledGradient(torch.autograd.Function):
    """The identity, whose gradient is multiplied by a factor."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, factor: float) -> torch.Tensor:
        ctx.factor = factor
        return x.clone()  # x itself may be set anew before the backward pass

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None]:
        return gradients[0] * ctx.factor, None


class LearnableFakeQuantizer(FakeQuantizer):
    """Learns its scale, and if not symmetric its zero point, by gradient descent.

    While it observes, both are set by the observed range. The gradient of either is multiplied by
    1 / sqrt(elements that share it * highest code).

    Source: arXiv 1902.08153, equation 3 and section 2.2; arXiv 2004.09576 for the zero point.
    """

    def __init__(self, grid: Grid, symmetric: bool, observer: RangeObserver) -> None:
        super().__init__(grid, symmetric, observer)
        for name, learns in (("scale", True), ("zero_point", not symmetric)):
            start = self._buffers.pop(name).float()
            self.register_parameter(name, nn.Parameter(start, requires_grad=learns))

    def final_parameters(self) -> tuple[torch.Tensor, torch.Tensor]:
        """What was learned, the zero point rounded to a code."""
        scale = self.scale.detach().clamp(min=EPSILON)
        zero_point = self.zero_point.detach().round().clamp(self.grid.lowest, self.grid.highest)
        return scale, zero_point.to(torch.int32)

    def observe(self, x: torch.Tensor) -> None:
        """Take x into the range and set what is learned by it."""
        with torch.no_grad():
            super().observe(x)

    def simulate(self, x: torch.Tensor) -> torch.Tensor:
        """X on the grid, differentiable by the parameters too."""
        self._return_to_the_grid()
        factor = (x.numel() / self.scale.numel() * self.grid.highest) ** -0.5
        s = self._against(_ScaledGradient.apply(self.scale, factor), x)
        z = self._against(_ScaledGradient.apply(self.zero_point, factor), x)
        z = z + (z.round() - z).detach()
        v = torch.clamp(x / s + z, self.grid.lowest, self.grid.highest)
        return (v + (v.round() - v).detach() - z) * s

    @torch.no_grad()
    def _return_to_the_grid(self) -> None:
        """Undo what a step of an optimizer may have done; set only what has to be.

        What a compiled graph has kept for its backward pass must not be written to.
        """
        if (self.scale < EPSILON).any():
            self.scale.clamp_(min=EPSILON)
        lowest, highest = self.grid.lowest, self.grid.highest
        if ((self.zero_point < lowest) | (self.zero_point > highest)).any():
            self.zero_point.clamp_(lowest, highest)

    def _against(self, parameter: Any, x: torch.Tensor) -> torch.Tensor:
        """A parameter shaped to broadcast against x."""
        shape = [1] * x.ndim
        if self.channel_axis is not None:
            shape[self.channel_axis] = -1
        return torch.as_tensor(parameter).reshape(shape)
