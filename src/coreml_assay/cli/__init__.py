"""The command line: one module for each command or family of commands."""

from __future__ import annotations

import click

from coreml_assay import __version__
from coreml_assay.cli.accuracy import accuracy
from coreml_assay.cli.bench import bench_command
from coreml_assay.cli.drift import drift_command
from coreml_assay.cli.gate import gate, report
from coreml_assay.cli.goldens import goldens
from coreml_assay.cli.implementations import implementations
from coreml_assay.cli.latency import latency
from coreml_assay.cli.listing import deviations
from coreml_assay.cli.matrix import matrix_command
from coreml_assay.cli.replay import replay_command
from coreml_assay.cli.run import run_command
from coreml_assay.cli.schema import schema

__all__ = ["main"]


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
def main() -> None:
    """Is this quantizer right? Is it as accurate as before?

    coreml-assay runs documented behaviour of Core ML quantization as checks over an
    implementation, quantizes real models with it, and says in one verdict whether anything is
    wrong or got worse.

    \b
    First steps:
      coreml-assay run                     the reference and the installed coremltools
      coreml-assay run -i my_package:Mine  your own implementation
      coreml-assay run -i command:./mine   the same, in any language
      coreml-assay matrix                  every implementation there is, side by side
      coreml-assay accuracy                outputs of quantized models, real or your own
      coreml-assay latency                 predictions on a Mac, an iPhone or an iPad
      coreml-assay gate BASELINE RECORD    compare a run with an accepted one
      coreml-assay replay RECORD CHECK     one check of a run, once more
      coreml-assay bench HEAD~1 HEAD       whether a revision of the package is slower

    \b
    Exit codes, for every command:
      0  pass
      1  regression: something is wrong or got worse; drift: something changed
      2  bad input: a file, a name or an option
      3  nothing was measured
      4  no device to collect from
    """


for _command in (
    run_command,
    matrix_command,
    accuracy,
    latency,
    gate,
    replay_command,
    bench_command,
    drift_command,
    report,
    schema,
    deviations,
    implementations,
    goldens,
):
    main.add_command(_command)
