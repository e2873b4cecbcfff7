"""Quantizers of others: each deviation is there, and the suite finds no other."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from coreml_assay import conformance
from coreml_assay.conformance.registry import OTHER_QUANTIZERS, load_deviations
from coreml_assay.implementations.environments import (
    catalogue,
    install_command,
    is_installed,
    process_environment,
)

DEVIATIONS = [each for each in load_deviations() if each.implementation in OTHER_QUANTIZERS]
REPRODUCE = """
import sys, traceback, warnings
from coreml_assay.conformance.registry import load_deviations
from coreml_assay.implementations import load_implementation
warnings.simplefilter("ignore")
name = sys.argv[1]
version = load_implementation(name).version
for each in load_deviations():
    if each.implementation != name:
        continue
    assert each.applies_to(name, version), f"{each.id} is about {each.versions}, not {version}"
    try:
        exec(compile(each.reproduction, each.id, "exec"), {})
    except BaseException:
        print("not reproduced:", each.id, traceback.format_exc().strip().splitlines()[-1])
print("done")
"""


# Slow: a process for each, as far as they are installed beside this environment.
def _environment(name):
    if not is_installed(catalogue()[name]):
        pytest.skip(f"{name} is not installed: {install_command(name)}")
    return process_environment(name)


def test_each_is_in_the_catalogue_under_its_own_name_and_has_deviations():
    assert set(OTHER_QUANTIZERS) <= set(catalogue())
    assert {each.implementation for each in DEVIATIONS} == set(OTHER_QUANTIZERS)


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_QUANTIZERS)
def test_the_reproductions_show_what_is_observed(name):
    done = subprocess.run(
        [sys.executable, "-c", REPRODUCE, name],
        env=_environment(name),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["done"], done.stdout
    assert "not reproduced" not in done.stdout, done.stdout


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_QUANTIZERS)
def test_the_suite_finds_no_other_deviation(name, tmp_path):
    suite, results = Path(conformance.__file__).parent, tmp_path / "results.jsonl"
    files = ["properties/test_codes.py", "properties/test_blocks.py", "goldens/test_arrays.py"]
    files += ["properties/test_parameters.py", "properties/test_symmetries.py"]
    files += ["properties/test_gptq_theorems.py", "goldens/test_gptq.py"]
    settings = ["-c", str(suite / "pytest.ini"), "--rootdir", str(suite)]
    chosen = ["--implementation", name, "--assay-results", str(results)]
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    subprocess.run(
        [*command, *settings, *chosen, *files],
        cwd=suite,
        env=_environment(name),
        stdout=subprocess.DEVNULL,
        timeout=1800,
        check=False,
    )
    checks = [json.loads(line) for line in results.read_text().splitlines()]
    unlisted = [each["check"] for each in checks if each["outcome"] in ("fail", "fixed")]
    assert unlisted == []
    assert Counter(each["outcome"] for each in checks)["pass"] > 100


@pytest.mark.slow
@pytest.mark.parametrize("name", OTHER_QUANTIZERS)
def test_what_is_not_offered_is_said_in_words(name):
    code = (
        "import sys, numpy as np\n"
        "from coreml_assay.implementations import Unsupported, WeightSpec, load_implementation\n"
        "from coreml_assay.numerics import Grid\n"
        "subject = load_implementation(sys.argv[1])\n"
        "weight = np.ones((4, 2, 3, 3), np.float32)\n"
        "blocks = {'torchao': (1, 1, 1, 1)}.get(subject.name, (1, 2, 1, 1))\n"
        "grid = Grid(8, signed=False, symmetric=True)\n"
        "try:\n"
        "    subject.quantize_weight(weight, WeightSpec(grid, blocks))\n"
        "except Unsupported as answer:\n"
        "    print('unsupported:', answer)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, name],
        env=_environment(name),
        stdout=subprocess.PIPE,
        text=True,
        timeout=120,
        check=True,
    )
    assert done.stdout.splitlines()[-1].startswith("unsupported: "), done.stdout
