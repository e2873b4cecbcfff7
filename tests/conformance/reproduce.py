"""Runs reproductions of deviations in this process: ``python reproduce.py ID...``.

Prints, as JSON, the version of coremltools and what each of them raised: null for those that show
what is observed.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import warnings

import coremltools

from coreml_assay.conformance.registry import load_deviations


def reproduce(reproduction: str, name: str) -> str | None:
    """Run one; what it raises, in one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            exec(compile(reproduction, name, "exec"), {})
        except Exception as error:
            return " ".join(f"{type(error).__name__}: {error}".split())
    return None


if __name__ == "__main__":
    chosen = [each for each in load_deviations() if each.id in set(sys.argv[1:])]
    with contextlib.redirect_stdout(io.StringIO()):  # some print
        found = {each.id: reproduce(each.reproduction, each.id) for each in chosen}
    json.dump({"version": coremltools.__version__, **found}, sys.stdout)
