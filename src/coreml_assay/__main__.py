"""The entry point of ``coreml-assay`` and ``python -m coreml_assay``."""

from __future__ import annotations

import logging
import os


def main() -> None:
    """Run the command line, without coremltools' start-up warnings and progress bars."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    os.environ.setdefault("TQDM_DISABLE", "1")
    # Imported only now: coremltools warns while it is imported.
    from coreml_assay.cli import main as command_line

    command_line(prog_name="coreml-assay")


if __name__ == "__main__":
    main()
