"""``coreml-assay accuracy``: what quantization does to the outputs of real models."""

from __future__ import annotations

from pathlib import Path

import click
from rich.console import Console

from coreml_assay.accuracy.builtin import BUILT_IN
from coreml_assay.accuracy.own import DataError, own_case
from coreml_assay.assay import run_accuracy
from coreml_assay.cli.common import (
    baseline_option,
    conclude,
    json_option,
    output_option,
    reporting_errors,
    seed_option,
)
from coreml_assay.records import read_record
from coreml_assay.terminal import stage_progress


@click.command()
@click.argument("model", required=False, type=click.Path(path_type=Path))
@click.option(
    "--data",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Samples for MODEL: .npz or .safetensors with an array for each input, samples first.",
)
@click.option(
    "--calibration",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Other samples, for the ranges of activations.  [default: those of --data]",
)
@click.option(
    "-c",
    "--case",
    "names",
    multiple=True,
    type=click.Choice([case.name for case in BUILT_IN]),
    help="A built-in model; can be repeated.  [default: all]",
)
@click.option(
    "-i",
    "--implementation",
    "implementations",
    multiple=True,
    default=("reference", "coremltools"),
    show_default="reference and coremltools",
    metavar="NAME",
    help="What quantizes: an installed implementation, or module:object. Can be repeated.",
)
@click.option(
    "--sensitivity/--no-sensitivity",
    default=True,
    help="Whether to quantize each weight and activation alone, too.",
)
@baseline_option
@output_option
@seed_option
@json_option
@reporting_errors
def accuracy(
    model: Path | None,
    data: Path | None,
    calibration: Path | None,
    names: tuple[str, ...],
    implementations: tuple[str, ...],
    sensitivity: bool,
    baseline: Path | None,
    output: Path,
    seed: int,
    as_json: bool,
) -> None:
    """Compare the outputs of quantized models with the float model's.

    Measures the built-in models, or MODEL, an .mlpackage, on the samples of --data.
    """
    accepted = None if baseline is None else read_record(baseline)
    console = Console(stderr=as_json, highlight=False)
    if model is None and (data or calibration):
        raise DataError("--data and --calibration belong to a MODEL, and none is given")
    if model is not None and (data is None or names):
        raise DataError(f"{model}: a model of your own takes --data FILE, and no --case")
    chosen = [case for case in BUILT_IN if not names or case.name in names]
    made = (
        (case.make(seed) for case in chosen if not case.missing)
        if model is None or data is None
        else iter([own_case(model, data, calibration)])
    )
    if model is None:
        for case in chosen:
            for command in case.missing:
                console.print(f"{case.name} will not be measured, for want of: {command}")
    with stage_progress(console) as progress:
        record = run_accuracy(
            tuple(dict.fromkeys(implementations)), made, seed, sensitivity, progress
        )
    conclude(record, accepted, output, as_json, console)
