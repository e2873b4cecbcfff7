"""Padding by ``pad_type``, shared by convolution and pooling."""

from __future__ import annotations

from collections.abc import Sequence


def paddings(
    pad_type: str,
    pad: Sequence[int] | None,
    sizes: Sequence[int],
    kernel: Sequence[int],
    strides: Sequence[int],
) -> list[tuple[int, int]]:
    """Elements to add before and after each spatial dimension.

    ``same`` makes the output ceil(size / stride) long and puts the odd element behind;
    ``same_lower`` puts it in front. The documentation of ``conv`` also gives formulas for the
    two sides that ignore the stride; they contradict that output length, and coremltools' own
    shape inference, and are not followed.

    Args:
        pad_type: valid, same, same_lower or custom.
        pad: before and after the first spatial dimension, then the next; used for custom.
        sizes: of the spatial dimensions.
        kernel: effective sizes, dilation included.
        strides: of the window.

    Raises:
        ValueError: an unknown pad_type, or custom without pad.
    """
    if pad_type == "valid":
        return [(0, 0)] * len(sizes)
    if pad_type == "custom":
        if pad is None:
            raise ValueError("pad_type 'custom' needs pad")
        return [(pad[2 * i], pad[2 * i + 1]) for i in range(len(sizes))]
    if pad_type not in ("same", "same_lower"):
        raise ValueError(f"unknown pad_type {pad_type!r}")
    result = []
    for size, k, stride in zip(sizes, kernel, strides, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + k - size)
        small, large = total // 2, total - total // 2
        result.append((small, large) if pad_type == "same" else (large, small))
    return result


def for_torch(pairs: Sequence[tuple[int, int]]) -> list[int]:
    """The pairs in the order of ``torch.nn.functional.pad``: last dimension first."""
    return [amount for pair in reversed(pairs) for amount in pair]
