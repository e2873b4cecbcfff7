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


@attrs.define
class CompressionReport:
    """Filled in by `linear_quantize_weights`; every candidate appears in it exactly once.

    Attributes:
        compressed: weight name to how.
        skipped: weight name to the reason in one sentence.
        unmatched: names and op types in the configuration that nothing in the model bears, to the
            nearest one that exists, or None.
    """

    compressed: dict[str, CompressedWeight] = attrs.field(factory=dict)
    skipped: dict[str, str] = attrs.field(factory=dict)
    unmatched: dict[str, str | None] = attrs.field(factory=dict)

    def __str__(self) -> str:
        """A summary line, then one line for each weight left as it was."""
        total = len(self.compressed) + len(self.skipped)
        lines = [f"{len(self.compressed)} of {total} weights compressed"]
        lines += [f"  {name}: {reason}" for name, reason in self.skipped.items()]
        lines += [
            f"  configured, but not in the model: {name}" + (f" (nearest: {near})" if near else "")
            for name, near in self.unmatched.items()
        ]
        return "\n".join(lines)
