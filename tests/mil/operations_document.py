"""Writes docs/operations.md from the table of operations and the checks that tests declare.

Run it as a script after a change to either: ``python tests/mil/operations_document.py``.
"""

from __future__ import annotations

import importlib
import inspect
from collections import defaultdict
from pathlib import Path

from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

from coreml_assay.mil.ops import CONSTANT_OPERATIONS, FAMILIES

HERE = Path(__file__).parent
DOCUMENT = HERE.parents[1] / "docs" / "operations.md"

_HEAD = """\
# Operations of the evaluator

<!-- Written by tests/mil/operations_document.py; a test holds it to the code. -->

{count} operation types of ML programs are supported: all core operations of the opsets iOS15 to
iOS18, and `coreml_update_state`. Constants (`const`) are no operations here. Anything else, custom
operations above all, raises `UnsupportedOperation` when an `Evaluator` is made.

Each operation is compared with something that shares no code with it, and value inference of
coremltools does not count as such: *numpy*, *torch* (by other functions than the operation uses),
*onnxruntime*, *documentation* (examples and numbers that it gives) or *arithmetic* (results known
beforehand). The opsets are those that define the operation or define it anew; one function serves
them all, and each definition is evaluated. A slow test watches that the checks do so, and that
lengths left open change no bit where coremltools can build such a program.

## Readings

Where the documentation is silent or contradicts itself, this is what was chosen:

- `conv` and pooling with `pad_type` `same`: the output is ceil(size / stride) long and the odd
  element goes behind, `same_lower` in front, as coremltools infers shapes and as TensorFlow and
  ONNX pad. The formulas that `conv` gives for the two sides ignore the stride.
- Pooling with `ceil_mode` and no padding can ask for a window that lies wholly outside the input,
  where PyTorch has none. That is an error.
- `gather` and `scatter` from iOS17 on without `validate_indices`: the documentation leaves
  indices out of bounds undefined. Negative ones count from the end and others are moved to the
  nearest element.
- `gru` without `reset_after` resets the state before it is multiplied, as in coremltools' own tests
  on Core ML; the documented formula can be read both ways. The direction `reverse` of `rnn`, `gru`
  and `lstm` returns its steps in the order in which they are made.
- `lstm`: peepholes of the input and forget gates see the old cell, that of the output gate the new
  one; `clip` limits the new cell.
- `resize_nearest_neighbor`, and `resize` with NEAREST_NEIGHBOR and DEFAULT or UNALIGN_CORNERS, take
  the pixel that holds the centre of the output pixel; with other modes the grid point is rounded,
  halves up. `upsample_nearest_neighbor` takes pixel floor(i * in / out).
- `crop_resize` up to iOS16 with boxes that name their image returns [N, 1, C, h, w], as documented;
  coremltools infers [N, B, C, h, w].
- `non_maximum_suppression` up to iOS16 returns the best box even if its score is below the
  threshold, as in coremltools' own tests on Core ML.
- `topk` and `argsort` keep the order of equal elements; `reduce_argmax` and `reduce_argmin` may
  return any of them.
- `maximum` and `minimum` return NaN if either operand is NaN.
- `random_*` draw from the documented distributions, but not the values that Core ML draws.
- `conv_quantized` is supported for the quantization type `linear` with 8 bits; the other is not
  documented.
- A result that is not whole and whose type is an integer (`real_div`, `reduce_mean`) is cut off.

## Table
"""


def declared_checks() -> dict[str, dict[str, set[str]]]:
    """Operation type to what it is checked against to the test modules that do."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for path in sorted(HERE.glob("test_mil_*.py")):
        module = importlib.import_module(path.stem)
        for _, test in inspect.getmembers(module, inspect.isfunction):
            for op_type, against in getattr(test, "checked_operations", []):
                found[op_type][against].add(path.name)
    return found


def opsets(op_type: str) -> str:
    """The opsets that define an operation, each once."""
    versions = SSAOpRegistry.core_ops.get(op_type, {})
    modules = {cls.__module__.split(".")[-2] for cls in versions.values()}
    return ", ".join(sorted(modules)) or "coreml dialect"


def render() -> str:
    """The document's text."""
    checks = declared_checks()
    families = {**FAMILIES, "compression": CONSTANT_OPERATIONS}
    count = sum(len(family) for family in families.values())
    lines = [_HEAD.format(count=count)]
    lines += ["| family | operation | opsets | checked against | in |", "|---|---|---|---|---|"]
    for family, operations in sorted(families.items()):
        for op_type in sorted(operations):
            against = ", ".join(sorted(checks[op_type]))
            tests = ", ".join(sorted(set().union(*checks[op_type].values())))
            lines.append(f"| {family} | `{op_type}` | {opsets(op_type)} | {against} | {tests} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    DOCUMENT.parent.mkdir(exist_ok=True)
    DOCUMENT.write_text(render(), encoding="utf-8")
