"""The golden cases of LinearQuantizer are those of the models they were made from."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.goldens.store import frozen_goldens
from coreml_assay.implementations.trainable_model import TrainableModel
from coreml_assay.implementations.trainable_models import MODELS

GOLDENS = frozen_goldens("coremltools-9.0/linear-quantizer")
CASES = {case.name: case for case in GOLDENS.cases.calibrated}


def test_every_model_has_a_case_made_from_it_as_it_is_today():
    assert {name: case.model for name, case in CASES.items()} == MODELS
    assert len(MODELS) >= 25


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_every_quantizer_and_layer_has_its_arrays(case):
    parameters = [f"{case.name}/{quantizer}" for quantizer in case.quantizers]
    for name in parameters:
        assert GOLDENS.arrays[f"{name}.scale"] > 0
        assert 0 <= GOLDENS.arrays[f"{name}.zero_point"] <= 255
    for layer, bits in case.layers.items():
        codes = GOLDENS.arrays[f"{case.name}/{layer}.codes"]
        assert codes.max() - codes.min() < 2**bits
        assert (GOLDENS.arrays[f"{case.name}/{layer}.scale"] > 0).all()


def test_only_what_coremltools_cannot_convert_has_no_program():
    refused = {name for name, case in CASES.items() if not case.program}
    assert refused == {"conv1d", "conv3d", "conv1d-bn-relu", "transposed1d"}
    assert all("same rank as `scale`" in CASES[name].refusal for name in refused)


def test_no_two_batches_of_a_model_have_the_same_range():
    for name, entry in MODELS.items():
        ranges = [tuple(float(x.abs().max()) for x in batch) for batch in entry.batches()]
        assert entry.tokens or len(set(ranges)) == len(ranges), name


def test_the_same_model_and_data_come_out_each_time():
    entry = MODELS["conv-bn-relu"]
    one, two = entry.build().state_dict(), entry.build().state_dict()
    assert all(np.array_equal(one[key].numpy(), two[key].numpy()) for key in one)
    first, again = entry.batches()[1][0].numpy(), entry.batches()[1][0].numpy()
    assert np.array_equal(first, again)
    # Known values: a change of the formula would change what the goldens stand for.
    assert (first.ravel()[:4] * 16).tolist() == [5.0, -11.0, 11.0, 4.0]


def test_tokens_are_valid_indices():
    entry = TrainableModel("", ((50,),), {}, tokens=11)
    for (tokens,) in entry.batches():
        assert tokens.dtype.is_floating_point is False
        assert set(tokens.tolist()) <= set(range(11))
