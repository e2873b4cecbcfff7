"""Every metric against numbers worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from coreml_assay.accuracy.metrics import (
    cosine,
    output_error,
    output_errors,
    share_correct,
    share_within_cents,
    signal_to_noise,
)
from coreml_assay.accuracy.sentences import share_nearest, word_pieces
from coreml_assay.accuracy.sounds import crepe_pitch


def vector(*values):
    return np.array(values, np.float64)


def test_signal_to_noise():
    # Energies 3^2 + 4^2 = 25 and 0.3^2 + 0.4^2 = 0.25: a ratio of 100.
    assert signal_to_noise(vector(3, 4), vector(3.3, 3.6)) == pytest.approx(20)


def test_share_nearest():
    vectors = np.array([[1, 0], [9, 1], [0, 2], [1, 9], [np.nan, 1]], np.float32)
    # Each of the first four is nearest to its pair, whatever their lengths.
    assert share_nearest(vectors[:4], np.array([0, 0, 1, 1])) == 1
    assert share_nearest(vectors[:4], np.array([0, 1, 1, 0])) == 0
    assert share_nearest(vectors, np.array([0, 0, 1, 1, 1])) == 0.8


def test_words_become_the_longest_pieces_there_are():
    vocabulary = {"[UNK]": 0, "un": 1, "##able": 2, "##a": 3, "able": 4, "unab": 5, "##le": 6}
    assert word_pieces("able unable  x una", vocabulary) == [4, 5, 6, 0, 1, 3]


def test_no_noise_and_no_signal_have_no_ratio():
    assert signal_to_noise(vector(3, 4), vector(3, 4)) is None
    assert signal_to_noise(vector(0, 0), vector(3, 4)) is None


def test_cosine():
    assert cosine(vector(1, 0), vector(1, 1)) == pytest.approx(0.70710678)
    assert cosine(vector(1, 2), vector(-2, -4)) == pytest.approx(-1)
    assert cosine(vector(0, 0), vector(1, 1)) is None


def test_an_output_is_compared_over_all_samples_together():
    expected = [{"y": np.array([[3.0]])}, {"y": np.array([[4.0]])}]
    found = [{"y": np.array([[3.0]])}, {"y": np.array([[4.5]])}]
    (error,) = output_errors(expected, found)
    assert error.output == "y"
    assert error.snr_db == pytest.approx(20)  # 25 to 0.25
    assert error.largest == 0.5
    # 3 * 3 + 4 * 4.5 over the lengths 5 and sqrt(29.25).
    assert error.cosine == pytest.approx(27 / (5 * 29.25**0.5))


def test_the_float16_of_an_output_does_not_overflow_in_the_sums():
    large = np.full(4, 30000, np.float16)
    error = output_error("y", large, large + np.float16(32))
    assert error.snr_db == pytest.approx(20 * np.log10(30000 / 32))


@pytest.mark.parametrize("broken", [np.nan, np.inf])
def test_values_that_are_not_finite_are_counted_and_give_no_ratio(broken):
    error = output_error("y", vector(1, 2, 3), vector(1, broken, broken))
    assert (error.non_finite, error.snr_db, error.largest) == (2, None, None)


def test_places_where_both_are_the_same_infinity_count_for_nothing():
    error = output_error("y", vector(3, 4, -np.inf), vector(3.3, 3.6, -np.inf))
    assert error.non_finite == 0
    assert error.snr_db == pytest.approx(20)
    assert output_error("y", vector(np.inf), vector(-np.inf)).non_finite == 1


def test_the_share_of_samples_whose_highest_score_is_their_labels():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [np.nan, 0.0], [0.4, 0.6]])
    assert share_correct(scores, np.array([1, 0, 0, 0])) == 0.5


def test_the_share_of_pitches_within_50_cents():
    # 50 cents are a factor of 2^(1/24), 1.0293.
    found = np.array([440 * 1.029, 440 / 1.029, 440 * 1.030, np.nan])
    assert share_within_cents(found, np.full(4, 440.0), 50) == 0.5


def test_the_pitch_that_activations_mean():
    activations = np.zeros((2, 360))
    activations[0, 100] = 1  # 1997.379 + 2000 cents above 10 Hz
    activations[1, [100, 101]] = 1, 1  # half way between the bins
    assert crepe_pitch(activations) == pytest.approx(
        [10 * 2 ** (3997.3794 / 1200), 10 * 2 ** (4007.3794 / 1200)], rel=1e-6
    )
