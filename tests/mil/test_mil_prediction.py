"""coremltools' own prediction, lent the evaluator."""

from __future__ import annotations

import coremltools as ct
import numpy as np
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.models import model as model_module

from coreml_assay.mil.prediction import evaluated_predictions
from coreml_assay.mil.samples import model_of, placeholder

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")


@pytest.fixture
def package(tmp_path):
    def body(x):
        half = mb.cast(x=x, dtype="fp16", name="half")
        return [
            mb.add(x=half, y=np.float16(1), name="one_more"),
            mb.cast(x=half, dtype="int32", name="whole"),
        ]

    path = tmp_path / "model.mlpackage"
    model_of({"x": placeholder((2, 3))}, body, "iOS17").save(str(path))
    return str(path)


X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_models_loaded_inside_predict_in_the_types_of_their_outputs(package):
    with evaluated_predictions():
        model = ct.models.MLModel(package)
        found = model.predict({"x": X})
    np.testing.assert_array_equal(found["one_more"], X + 1)
    assert found["one_more"].dtype == np.float16
    assert found["whole"].dtype == np.int32
    assert len(model.predict([{"x": X}, {"x": X}])) == 2  # and go on to afterwards


def test_coremltools_is_as_before_afterwards_also_after_an_error():
    before = model_module._MLModelProxy

    def fail():
        with evaluated_predictions():
            assert model_module._MLModelProxy is not before
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert model_module._MLModelProxy is before


def test_contexts_nest():
    with evaluated_predictions():
        outer = model_module._MLModelProxy
        with evaluated_predictions():
            assert model_module._MLModelProxy is not outer
        assert model_module._MLModelProxy is outer


def test_wrong_input_is_an_error(package):
    with evaluated_predictions():
        model = ct.models.MLModel(package)
    with pytest.raises(ValueError, match="has shape"):
        model.predict({"x": X[:1]})
