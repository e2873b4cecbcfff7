"""The golden cases of activation quantization are those of the programs they were made from."""

from __future__ import annotations

import pytest

from coreml_assay.goldens.activations import ALL_KINDS, KINDS
from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.mil.activation_programs import EVERY_WAY, PROGRAMS
from coreml_assay.mil.activation_samples import program, samples
from coreml_assay.mil.pairs import described
from coreml_assay.mil.program import load_program

CASES = {case.name: case for case in frozen_goldens("coremltools-9.0/activations").cases.programs}


def test_every_program_has_a_case_made_from_it_as_it_is_today():
    assert CASES.keys() == PROGRAMS.keys()
    for name, body in PROGRAMS.items():
        assert list(CASES[name].given) == described(load_program(program(body))), name


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_way_of_quantizing_made_pairs(case):
    kinds = ALL_KINDS if case.name in EVERY_WAY else KINDS
    assert [(each.mode, each.dtype) for each in case.quantized] == list(kinds)
    for each in case.quantized:
        assert sum(line.startswith("quantize(") for line in each.lines) >= 2
        assert "scale=fp16[]" in "\n".join(each.lines)


def test_the_same_samples_come_out_each_time():
    model = program(PROGRAMS["conv"])
    first = samples(model)[0]["x"]
    # Known values: other ones would change what the goldens stand for.
    assert first.ravel()[:6].tolist() == [0.5, 1.0, -1.0, 1.0, 0.0, 0.0]
