"""Random tensors by their moments, their seeds and their limits."""

from __future__ import annotations

import numpy as np
import pytest
from coremltools.converters.mil import Builder as mb
from mil_helpers import checks, evaluate

SHAPE = np.array([200, 100], np.int32)


def draw(op_type, **parameters):
    return evaluate(
        lambda shape: getattr(mb, op_type)(shape=shape, **parameters), shape=SHAPE
    ).astype(np.float64)


@checks("random_bernoulli", "random_normal", "random_uniform", against="arithmetic")
def test_moments_are_those_of_the_distributions():
    bernoulli = draw("random_bernoulli", prob=np.float32(0.25), seed=1)
    normal = draw("random_normal", mean=np.float32(3.0), stddev=np.float32(2.0), seed=1)
    uniform = draw("random_uniform", low=np.float32(-1.0), high=np.float32(3.0), seed=1)
    assert set(np.unique(bernoulli)) == {0.0, 1.0}
    # 20000 numbers: the mean's standard deviation is at most 0.015.
    assert bernoulli.mean() == pytest.approx(0.25, abs=0.02)
    assert (normal.mean(), normal.std()) == (pytest.approx(3, abs=0.06), pytest.approx(2, abs=0.06))
    assert (uniform.min() >= -1, uniform.max() < 3) == (True, True)
    assert uniform.mean() == pytest.approx(1.0, abs=0.04)


@checks("random_categorical", against="arithmetic")
@pytest.mark.parametrize("mode", ["logits", "probs"])
def test_categories_come_with_their_probabilities(mode):
    probs = np.array([[0.5, 0.25, 0.25], [0.0, 0.0, 1.0]], np.float32)
    x = np.log(np.maximum(probs, 1e-30)) if mode == "logits" else probs
    found = evaluate(lambda x: mb.random_categorical(x=x, mode=mode, size=4000, seed=3), x=x)
    shares = np.stack([(found == c).mean(1) for c in range(3)], 1)
    assert shares == pytest.approx(probs, abs=0.03)


@checks("random_normal", against="arithmetic")
def test_seeds_repeat_and_their_absence_does_not():
    assert (draw("random_normal", seed=7) == draw("random_normal", seed=7)).all()
    assert (draw("random_normal", seed=7) != draw("random_normal", seed=8)).any()
    assert (draw("random_normal") != draw("random_normal")).any()
