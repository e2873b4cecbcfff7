"""Opening ML program packages, getting at the program inside, and writing it back.

A package is a folder with a specification (protobuf) and a weight file; a program is the graph
of operations that coremltools rebuilds from the two.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coremltools as ct
from coremltools.converters.mil.converter import mil_convert
from google.protobuf.message import DecodeError

from coreml_assay.files import replacing_folder
from coreml_assay.mil.loading import rebuild

# coremltools ships no type information, so its classes are Any to the type checker.
Model = Any  # coremltools.models.MLModel
Program = Any  # coremltools.converters.mil.mil.Program
Operation = Any  # coremltools.converters.mil.mil.Operation
Block = Any  # coremltools.converters.mil.mil.Block

IOS16 = 7
IOS17 = 8
IOS18 = 9
_TARGET_NAMES = {6: "iOS15", 7: "iOS16", 8: "iOS17", 9: "iOS18"}


class PackageError(ValueError):
    """A package that cannot be opened or read; the message is one line and names the file."""


def target_name(specification_version: int) -> str:
    """The deployment target of a specification version, for example ``iOS18`` for 9."""
    return _TARGET_NAMES.get(specification_version, f"specification {specification_version}")


def open_package(path: Path) -> Model:
    """Open an ML program package without loading it for prediction.

    Args:
        path: an ``.mlpackage`` folder.

    Returns:
        A coremltools ``MLModel``.

    Raises:
        PackageError: there is no such package, it is damaged, or it holds no ML program.
    """
    if not path.exists():
        raise PackageError(f"{path}: no such package")
    if not path.is_dir():
        raise PackageError(f"{path}: not an .mlpackage folder, the form ML programs come in")
    try:
        model = ct.models.MLModel(str(path), skip_model_load=True)
    except (DecodeError, RuntimeError, OSError, ValueError) as error:
        raise PackageError(f"{path}: not a readable package: {_first_line(error)}") from error
    if problem := _type_problem(model.get_spec()):
        raise PackageError(f"{path}: {problem}")
    return model


def load_program(model: Model, at_least: int = 0) -> Program:
    """Rebuild the program of a model.

    Args:
        model: a coremltools ``MLModel`` of type mlprogram with a single function.
        at_least: raise the program to this specification version if its own is older.

    Returns:
        A coremltools program, free to be edited: the model does not share it.

    Raises:
        TypeError: the model is not an ML program.
        ValueError: the model has several functions.
        PackageError: its specification or weight file is missing, truncated or damaged.
    """
    if not isinstance(model, ct.models.MLModel):
        raise TypeError(f"mlmodel must be a coremltools MLModel, got {type(model).__name__}")
    specification = model.get_spec()
    if problem := _type_problem(specification):
        raise TypeError(f"only mlprogram models can be processed: {problem}")
    functions = list(specification.mlProgram.functions)
    if len(functions) > 1:
        raise ValueError(
            "quantization is not supported for a multifunction model; it has "
            f"{', '.join(sorted(functions))}: save each function as a model of its own first"
        )
    try:
        version = max(specification.specificationVersion, at_least)
        return rebuild(specification, version, model.weights_dir)
    except (RuntimeError, ValueError, OSError, AttributeError) as error:
        raise PackageError(
            f"{model.package_path or 'the model'}: its program cannot be rebuilt from "
            f"model.mlmodel and weights/weight.bin: {_first_line(error)}"
        ) from error


def build_model(program: Program, like: Model, at_least: int = 0) -> Model:
    """Turn a program into a model, with the interface description of another.

    Args:
        program: the program; it belongs to the new model afterwards.
        like: the model it came from, for its description, compute units and loading.
        at_least: as given to `load_program`.

    Returns:
        A coremltools ``MLModel``; it is loaded for prediction only if ``like`` was.
    """
    specification = like.get_spec()
    return mil_convert(
        program,
        convert_to="mlprogram",
        convert_from="milinternal",
        specification_version=max(specification.specificationVersion, at_least),
        compute_units=like.compute_unit,
        model_description=specification.description,
        skip_model_load=like.__proxy__ is None,
    )


def retarget(model: Model, specification_version: int) -> Model:
    """The same program emitted for a newer deployment target; its numbers do not change.

    Raises:
        ValueError: the model is newer than that already.
    """
    own = model.get_spec().specificationVersion
    if own > specification_version:
        raise ValueError(
            f"the model is for {target_name(own)}, newer than {target_name(specification_version)}"
        )
    program = load_program(model, at_least=specification_version)
    return build_model(program, like=model, at_least=specification_version)


def save_package(model: Model, path: Path) -> None:
    """Save a model as a package, whole or not at all.

    Raises:
        ValueError: the name does not end in ``.mlpackage``.
        OSError: the disk is full or the folder cannot be written; ``path`` is then as before.
    """
    if path.suffix != ".mlpackage":
        raise ValueError(f"a package's name ends in .mlpackage, got {path.name}")
    with replacing_folder(path) as fresh:
        model.save(str(fresh))


def all_operations(block: Block) -> Iterator[Operation]:
    """Every operation of a block in order, each preceded by those of the blocks inside it."""
    for operation in block.operations:
        for inner in operation.blocks:
            yield from all_operations(inner)
        yield operation


def replace_operation(operation: Operation, values: list[Any]) -> None:
    """Let other values take the place of an operation's outputs, and remove the operation.

    The operation is of no use afterwards. It and its values refer to each other, and are taken
    apart so that a weight leaves memory now and not when the garbage collector runs.
    """
    for var, value in zip(operation.outputs, values, strict=True):
        operation.enclosing_block.replace_uses_of_var_after_op(
            anchor_op=operation,
            old_var=var,
            new_var=value,
            no_check_var_types=True,  # a constexpr output need not carry the constant's value
            force_replace=True,
        )
    operation.enclosing_block.remove_ops([operation])
    operation.outputs.clear()
    for var in operation.internal_inputs.values():
        var.child_ops.clear()


def _type_problem(specification: Any) -> str | None:
    kind = specification.WhichOneof("Type")
    if kind == "mlProgram":
        return None
    if kind is None:
        return "model.mlmodel is empty or damaged: it names no type of model"
    advice = "; convert it again with convert_to='mlprogram'" if "neural" in str(kind) else ""
    return f"the model is of type {kind}, which holds no ML program{advice}"


def _first_line(error: BaseException) -> str:
    return str(error).strip().split("\n", 1)[0] or type(error).__name__
