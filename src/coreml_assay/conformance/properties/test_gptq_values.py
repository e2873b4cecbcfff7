"""What GPTQ makes of a weight: theorems, and the parameters that the documentation names."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from coreml_assay.conformance import tolerances
from coreml_assay.conformance.layerwise_quantizing import (
    compress,
    expect_compressed,
    gptq,
    hessian,
    linear,
    losses,
    nearest,
    proxy_loss,
    random_data,
    random_weight,
    samples_of,
    zero_points,
)
from coreml_assay.conformance.subject import Subject

BITS = {"uint4": 4, "uint8": 8}
SCHEMES = ["symmetric", "affine"]


@pytest.mark.clause("G.5")
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("dtype", BITS)
def test_weights_are_what_codes_in_the_grid_stand_for(
    torch_subject: Subject, dtype: str, scheme: str
) -> None:
    weight, data = random_weight(6, 32), random_data(40, 32)
    config = gptq(weight_dtype=dtype, quantization_scheme=scheme)
    compressed = compress(torch_subject, linear(weight), config, samples_of(data))
    found = expect_compressed(torch_subject, compressed, "0.weight")
    inside = bool(((found.codes >= 0) & (found.codes < 2 ** BITS[dtype])).all())
    torch_subject.expect(inside, "codes lie outside the grid", "0 to 2**bits - 1", found.codes)
    assert found.scale is not None
    restored = (found.codes - zero_points(found)) * found.scale.astype(np.float64)
    error = float(np.abs(found.values - restored).max())
    allowed = tolerances.restored(found.values)
    torch_subject.expect(
        error <= allowed, "weights are not what codes stand for", f"at most {allowed}", error
    )


@pytest.mark.clause("G.6")
@pytest.mark.parametrize(
    ("scheme", "granularity", "scales", "zeros"),
    [
        ("symmetric", "per_channel", [0.48, 1.4], [8, 8]),
        ("affine", "per_channel", [0.32, 0.76], [11, 1]),
        ("affine", "per_tensor", [0.94, 0.94], [4, 4]),
    ],
)
def test_scales_and_zero_points(
    torch_subject: Subject, scheme: str, granularity: str, scales: Any, zeros: Any
) -> None:
    weight = np.array([[1.2, -3.6, 0.4], [-0.9, 1.5, 10.5]], np.float32)
    config = gptq(weight_dtype="uint4", quantization_scheme=scheme, granularity=granularity)
    data = samples_of([np.eye(3, dtype=np.float32)])
    compressed = compress(torch_subject, linear(weight), config, data)
    found = expect_compressed(torch_subject, compressed, "0.weight")
    assert found.scale is not None
    close = found.scale.shape == (2, 1) and np.allclose(
        found.scale[:, 0], scales, rtol=tolerances.scale_relative(weight.dtype)
    )
    torch_subject.expect(bool(close), "the scales differ", scales, found.scale)
    torch_subject.expect_equal(zero_points(found).ravel().tolist(), zeros, "the zero point")


@pytest.mark.clause("G.7")
@pytest.mark.parametrize("dtype", BITS)
def test_a_symmetric_scale_saturates_no_row(torch_subject: Subject, dtype: str) -> None:
    weight = np.abs(random_weight(6, 16))
    data = samples_of([np.eye(16, dtype=np.float32)])
    compressed = compress(torch_subject, linear(weight), gptq(weight_dtype=dtype), data)
    found = expect_compressed(torch_subject, compressed, "0.weight")
    assert found.scale is not None
    # The middle code is above the middle of the grid: the highest weight lies half a step off.
    missing = (weight.max(axis=1) - found.values.max(axis=1)) / found.scale[:, 0]
    torch_subject.expect(
        bool((missing < 0.51).all()), "the largest weights saturate", "half a step", missing
    )


@pytest.mark.clause("G.8")
@pytest.mark.parametrize("order", [False, True], ids=["in_order", "activation_order"])
@pytest.mark.parametrize("block_size", [None, 4])
@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_diagonal_hessian_rounds_to_nearest(
    torch_subject: Subject, scheme: str, block_size: int | None, order: bool
) -> None:
    weight = random_weight(6, 16)
    inputs = np.diag(np.random.default_rng(0).permutation(np.arange(1, 17))).astype(np.float32)
    config = gptq(
        weight_dtype="uint4",
        quantization_scheme=scheme,
        granularity="per_block" if block_size else "per_channel",
        block_size=block_size,
        use_activation_order_heuristic=order,
    )
    compressed = compress(torch_subject, linear(weight), config, samples_of([inputs]))
    found = expect_compressed(torch_subject, compressed, "0.weight")
    torch_subject.expect_equal(found.codes, nearest(weight, found, 4), "the codes")


@pytest.mark.clause("G.9")
def test_order_and_batches_of_samples_do_not_matter(torch_subject: Subject) -> None:
    weight = random_weight(16, 24)
    data = random_data(16, 24, samples=6)
    data[0] *= 8
    found = [
        losses(torch_subject, weight, each, weight_dtype="uint4")
        for each in (data, data[::-1], data[3:] + data[:3])
    ]
    batched = [np.stack(data[:3]), np.stack(data[3:])]
    scaled = losses(torch_subject, weight, batched, weight_dtype="uint4") / 3
    found.append(scaled)
    _expect_same(torch_subject, found, "orders and batches of the same samples")


@pytest.mark.clause("G.10")
@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_processing_group_size_does_not_matter(torch_subject: Subject, scheme: str) -> None:
    weight, data = random_weight(16, 48), random_data(64, 48)
    found = [
        losses(
            torch_subject,
            weight,
            data,
            weight_dtype="uint4",
            quantization_scheme=scheme,
            processing_group_size=size,
        )
        for size in (1, 5, 48, 128)
    ]
    _expect_same(torch_subject, found, "processing group sizes")


def _expect_same(subject: Subject, found: list[float], what: str) -> None:
    spread = max(found) / min(found) - 1
    subject.expect(
        spread <= tolerances.GPTQ_LOSS,
        f"the proxy loss differs among {what}",
        f"at most {tolerances.GPTQ_LOSS:.3g} apart, relative",
        found,
    )


@pytest.mark.clause("G.11")
@pytest.mark.parametrize("dtype", BITS)
def test_babais_bound_holds_where_nothing_clips(torch_subject: Subject, dtype: str) -> None:
    columns = 24
    weight = random_weight(8, columns)
    inner = columns - 2
    # Two columns that correlate with nothing hold the ends of the range; the others stay inside.
    weight[:, inner:] = [-2, 2]
    data = random_data(64, columns)
    for sample in data:
        sample[:, inner:] = 0
        sample[:2, :] = 0
        sample[0, inner], sample[1, inner + 1] = 1, 1
    config = gptq(weight_dtype=dtype, quantization_scheme="affine")
    compressed = compress(torch_subject, linear(weight), config, samples_of(data))
    found = expect_compressed(torch_subject, compressed, "0.weight")
    H = hessian(data)
    H += 0.01 * np.diag(H).mean() * np.eye(columns)
    backwards = np.linalg.cholesky(H[::-1, ::-1])  # H = U U^T read backwards: H = L^T L
    r = np.diag(backwards)[::-1]
    assert found.scale is not None
    bound = 0.25 * float((found.scale.astype(np.float64)[:, 0] ** 2).sum() * (r**2).sum())
    loss = proxy_loss(weight, found.values, H)
    torch_subject.expect(
        loss <= bound * (1 + tolerances.GPTQ_LOSS),
        "the loss exceeds Babai's bound",
        f"at most {bound:.6g}",
        f"{loss:.6g}",
    )


@pytest.mark.clause("G.12")
def test_columns_that_no_input_reaches_are_rounded_to_nearest(torch_subject: Subject) -> None:
    weight, data = random_weight(8, 16), random_data(32, 16)
    for sample in data:
        sample[:, [3, 9]] = 0
    compressed = compress(
        torch_subject, linear(weight), gptq(weight_dtype="uint4"), samples_of(data)
    )
    found = expect_compressed(torch_subject, compressed, "0.weight")
    expected = nearest(weight, found, 4)[:, [3, 9]]
    torch_subject.expect_equal(found.codes[:, [3, 9]], expected, "the codes of those columns")


@pytest.mark.clause("G.13")
def test_compensation_beats_rounding(torch_subject: Subject) -> None:
    weight, data = random_weight(16, 48), random_data(96, 48)
    compressed = compress(
        torch_subject, linear(weight), gptq(weight_dtype="uint4"), samples_of(data)
    )
    found = expect_compressed(torch_subject, compressed, "0.weight")
    assert found.scale is not None
    rounded = (nearest(weight, found, 4) - zero_points(found)) * found.scale
    H = hessian(data)
    ours, simple = proxy_loss(weight, found.values, H), proxy_loss(weight, rounded, H)
    torch_subject.expect(
        ours < simple, "the proxy loss is no lower than rounding's", f"below {simple:.4g}", ours
    )
