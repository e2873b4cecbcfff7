"""What the evaluator raises, beside ValueError for inputs that a program does not take."""

from __future__ import annotations


class UnsupportedOperation(NotImplementedError):  # noqa: N818 -- named for what it reports
    """The program holds an operation that the evaluator has no function for."""

    def __init__(self, op_type: str, name: str, place: str) -> None:
        super().__init__(
            f"operation {op_type!r} (named {name!r}, in {place}) is not supported; "
            "the supported ones are the keys of coreml_assay.mil.ops.OPERATIONS, "
            "listed in docs/operations.md"
        )
        self.op_type = op_type
        self.name = name
        self.place = place


class EvaluationError(RuntimeError):
    """An operation could not be carried out; the message says which one, where and why."""

    def __init__(self, op_type: str, name: str, place: str, reason: Exception) -> None:
        first_line = str(reason).strip().partition("\n")[0]
        super().__init__(
            f"operation {op_type!r} (named {name!r}, in {place}) failed: "
            f"{first_line or type(reason).__name__}"
        )
        self.op_type = op_type
        self.name = name
        self.place = place
