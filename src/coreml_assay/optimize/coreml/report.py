"""What a quantization did: which weights it compressed, which it left and why."""

from __future__ import annotations

import attrs

from coreml_assay.numerics import BlockShape


@attrs.frozen
class CompressedWeight:
    """How one weight was compressed.

    Attributes:
        shape: of the weight.
        codes: type of the codes, for example "int4".
        mode: "LINEAR_SYMMETRIC" or "LINEAR".
        block_shape: block size for each axis, 0 for the whole axis.
    """

    shape: tuple[int, ...]
    codes: str
    mode: str
    block_shape: BlockShape


@attrs.frozen
class QuantizedActivations:
    """How the tensors around one op were quantized, each with one scale.

    Attributes:
        op_type: for example "conv".
        codes: type of the codes, "int8" or "uint8".
        mode: "LINEAR_SYMMETRIC" or "LINEAR".
        ranges: name of each tensor that got a pair of its own to its lowest and highest value;
            the inputs first, then the result where a pair follows it.
    """

    op_type: str
    codes: str
    mode: str
    ranges: dict[str, tuple[float, float]] = attrs.field(factory=dict)


@attrs.define
class CompressionReport:
    """Filled in by `linear_quantize_weights` and `linear_quantize_activations`.

    Every candidate appears in it exactly once: weights in the first two dictionaries, ops whose
    activations can be quantized in the last two.

    Attributes:
        compressed: weight name to how.
        skipped: weight name to the reason in one sentence.
        unmatched: names and op types in the configuration that nothing in the model bears, to the
            nearest one that exists, or None.
        activations: op name to how the tensors around it were quantized.
        activations_skipped: op name to the reason in one sentence.
    """

    compressed: dict[str, CompressedWeight] = attrs.field(factory=dict)
    skipped: dict[str, str] = attrs.field(factory=dict)
    unmatched: dict[str, str | None] = attrs.field(factory=dict)
    activations: dict[str, QuantizedActivations] = attrs.field(factory=dict)
    activations_skipped: dict[str, str] = attrs.field(factory=dict)

    def __str__(self) -> str:
        """For weights, then for activations: a summary line, and a line for what was left."""
        ops = len(self.activations) + len(self.activations_skipped)
        weights = len(self.compressed) + len(self.skipped)
        lines = []
        if weights or not ops:
            lines.append(f"{len(self.compressed)} of {weights} weights compressed")
            lines += [f"  {name}: {reason}" for name, reason in self.skipped.items()]
        if ops:
            lines.append(f"activations of {len(self.activations)} of {ops} ops quantized")
            lines += [f"  {name}: {reason}" for name, reason in self.activations_skipped.items()]
        lines += [
            f"  configured, but not in the model: {name}" + (f" (nearest: {near})" if near else "")
            for name, near in self.unmatched.items()
        ]
        return "\n".join(lines)
