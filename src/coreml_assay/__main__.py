"""The entry point of ``coreml-assay`` and ``python -m coreml_assay``."""

from __future__ import annotations

import logging
import os
import warnings


def main() -> None:
    """Run the command line, without coremltools' warnings and progress bars.

    What is wrong with a model or an implementation is in the verdict; what coremltools says on
    the way (part of it on the root logger) would drown it.
    """
    logging.basicConfig(level=logging.ERROR)
    warnings.filterwarnings("ignore", module="coremltools")
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Imported only now: coremltools warns while it is imported.
    from coreml_assay.cli import main as command_line

    command_line(prog_name="coreml-assay")


if __name__ == "__main__":
    main()
