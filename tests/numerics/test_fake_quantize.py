"""Observers and fake quantizers, on numbers worked out by hand."""

from __future__ import annotations

import math

import pytest
import torch

from coreml_assay.numerics import Grid
from coreml_assay.numerics.fake_quantize import (
    EPSILON,
    FakeQuantizer,
    FakeQuantizerBase,
    FixedFakeQuantizer,
    LearnableFakeQuantizer,
    RangeObserver,
    parameters_of_range,
    round_to_grid,
)

INT8, UINT8 = Grid.named("int8", symmetric=False), Grid.named("uint8", symmetric=False)
INT4, UINT4 = Grid.named("int4", symmetric=False), Grid.named("uint4", symmetric=False)

# low, high, grid, symmetric: scale, zero point
RANGES = [
    (-1.0, 2.0, INT8, True, 2 / 127.5, 0),
    (-3.0, 2.0, UINT8, True, 3 / 127.5, 128),
    (-3.0, 2.0, UINT4, True, 3 / 7.5, 7),
    (-1.0, 2.0, INT4, True, 2 / 7.5, 0),
    (-1.0, 2.0, UINT8, False, 3 / 255, 85),
    (-1.0, 2.0, INT8, False, 3 / 255, -43),
    (1.0, 2.0, UINT4, False, 2 / 15, 0),  # zero belongs to the range
    (-2.0, -1.0, UINT4, False, 2 / 15, 15),
    (-2.0, -1.0, INT4, False, 2 / 15, 7),
    (1.0, 2.0, INT4, False, 2 / 15, -8),
    (0.0, 0.0, UINT8, False, EPSILON, 0),
    (0.0, 0.0, INT8, True, EPSILON, 0),
    (-1e-10, 0.0, INT8, False, EPSILON, -128),
]


@pytest.mark.parametrize(("low", "high", "grid", "symmetric", "scale", "zero_point"), RANGES)
def test_scale_and_zero_point_by_hand(low, high, grid, symmetric, scale, zero_point):
    s, z = parameters_of_range(torch.tensor([low]), torch.tensor([high]), grid, symmetric)
    assert (s.dtype, s.shape, z.dtype, z.shape) == (torch.float32, (1,), torch.int32, (1,))
    assert s.item() == pytest.approx(scale, rel=1e-6)
    assert z.item() == zero_point


def test_each_channel_has_parameters_of_its_own():
    s, z = parameters_of_range(torch.tensor([-1.0, 0.0]), torch.tensor([2.0, 4.0]), UINT8, False)
    assert s.tolist() == pytest.approx([3 / 255, 4 / 255], rel=1e-6)
    assert z.tolist() == [85, 0]


def test_rounding_to_the_grid_and_its_gradient_by_hand():
    scale, zero_point = torch.tensor(0.5), torch.tensor(3, dtype=torch.int32)
    x = torch.tensor([-4.5, -2.0, -1.75, -1.5, 0.0, 0.25, 0.75, 6.0, 6.5], requires_grad=True)
    found = round_to_grid(x, scale, zero_point, UINT4)  # from (0 - 3) to (15 - 3) halves
    assert found.tolist() == [-1.5, -1.5, -1.5, -1.5, 0, 0, 1, 6, 6]
    (found * torch.arange(1.0, 10)).sum().backward()
    assert x.grad.tolist() == [0, 0, 0, 4, 5, 6, 7, 8, 0]


# update: the range after [-1, 3], after [-2, 1] too, and after [-1, 5] as well
UPDATES = {
    "min_max": [(-1, 3), (-2, 3), (-2, 5)],
    "moving_average_min_max": [(-1, 3), (-1.01, 2.98), (-1.0099, 3.0002)],
    "ema_min_max": [(-1, 3), (-1.1, 2.8), (-1.09, 3.02)],
}


@pytest.mark.parametrize("update", UPDATES)
def test_ranges_are_updated_as_named(update):
    observer = RangeObserver(update)
    assert observer.min_val.shape == observer.max_val.shape == (1,)
    for batch, (low, high) in zip([[-1, 3], [-2, 1], [-1, 5]], UPDATES[update], strict=True):
        x = torch.tensor(batch, dtype=torch.float64)
        assert observer(x) is x
        assert observer.min_val.item() == pytest.approx(low, rel=1e-6)
        assert observer.max_val.item() == pytest.approx(high, rel=1e-6)
    assert observer.min_val.dtype == torch.float32


@pytest.mark.parametrize(
    ("axis", "lows", "highs"), [(0, [0, 6], [5, 11]), (1, [0, 2, 4], [7, 9, 11])]
)
def test_channels_have_ranges_of_their_own(axis, lows, highs):
    observer = RangeObserver("min_max", channels=len(lows), axis=axis)
    observer(torch.arange(12.0).reshape(2, 3, 2))
    assert (observer.min_val.tolist(), observer.max_val.tolist()) == (lows, highs)
    assert observer.axis == axis


def test_the_first_axis_has_the_channels_unless_told_and_no_channels_no_axis():
    assert RangeObserver("min_max", channels=2).axis == 0
    assert RangeObserver("min_max", axis=1).axis is None


def test_an_empty_batch_changes_nothing_and_is_not_data():
    observer = RangeObserver("min_max")
    empty = torch.zeros(0, 3)
    assert observer(empty) is empty
    assert not observer.has_seen_data
    assert not observer.is_finite
    assert (observer.min_val.item(), observer.max_val.item()) == (math.inf, -math.inf)
    observer(torch.tensor([1.0]))
    assert observer.has_seen_data
    assert observer.is_finite


@pytest.mark.parametrize("number", [math.inf, -math.inf, math.nan])
def test_a_range_with_an_end_that_is_not_finite_says_so(number):
    observer = RangeObserver("min_max")
    observer(torch.tensor([0.0, number]))
    assert observer.has_seen_data
    assert not observer.is_finite


@pytest.mark.parametrize(("synchronize", "expected"), [(True, (-4, 6)), (False, (-1, 3))])
def test_processes_of_distributed_training_agree_on_the_widest_range(
    monkeypatch, synchronize, expected
):
    distributed = torch.distributed
    others = {
        distributed.ReduceOp.MIN: lambda t: t.clamp_(max=-4),
        distributed.ReduceOp.MAX: lambda t: t.clamp_(min=6),
    }
    monkeypatch.setattr(distributed, "is_available", lambda: True)
    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", lambda t, op: others[op](t))
    observer = RangeObserver("min_max")
    assert observer.synchronize
    observer.synchronize = synchronize
    observer(torch.tensor([-1.0, 3.0]))
    assert (observer.min_val.item(), observer.max_val.item()) == expected


def test_an_observer_sees_what_gradients_flow_through():
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    observer = RangeObserver("ema_min_max")
    observer(x)
    observer(x * 3)
    assert not observer.max_val.requires_grad


@pytest.mark.parametrize("observes", [True, False])
@pytest.mark.parametrize("simulates", [True, False])
def test_observing_and_simulating_are_switched_each_by_itself(observes, simulates):
    module = FakeQuantizer(UINT8, False, RangeObserver("min_max"))
    assert (module.observer_enabled.tolist(), module.fake_quant_enabled.tolist()) == ([1], [1])
    assert module.observer_enabled.dtype == module.fake_quant_enabled.dtype == torch.uint8
    module.switch(observe=observes)
    module.switch(simulate=simulates)
    x = torch.tensor([0.0, 1.0, 255.0, 3.4])
    found = module(x)
    assert module.has_parameters is observes
    assert (module.scale.item(), module.zero_point.item()) == (1, 0)
    assert found.tolist() == ([0, 1, 255, 3] if simulates else x.tolist())
    module.switch(observe=True, simulate=True)
    again = [0, 0, -256, -4] if observes else [0, -1, -255, -3]  # in steps of 2, or of 1
    assert module(-x).tolist() == again


def test_what_has_seen_nothing_keeps_the_parameters_it_began_with():
    module = FakeQuantizer(UINT8, False, RangeObserver("min_max", channels=3))
    module(torch.zeros(3, 0))
    assert not module.has_parameters
    assert (module.scale.tolist(), module.zero_point.tolist()) == ([1, 1, 1], [0, 0, 0])
    assert (module.scale.dtype, module.zero_point.dtype) == (torch.float32, torch.int32)


def test_channels_are_rounded_along_their_axis():
    module = FakeQuantizer(INT4, True, RangeObserver("min_max", channels=2, axis=1))
    x = torch.tensor([[7.5, 75.0], [-1.2, 12.0], [0.6, -80.0]])
    module.observe(x)
    module.scale.copy_(torch.tensor([1.0, 10.0]))
    assert module.channel_axis == 1
    assert module.rounded(x).tolist() == [[7, 70], [-1, 10], [1, -80]]


def test_a_known_range_is_kept_whatever_is_seen():
    module = FixedFakeQuantizer(0.25, 10)
    assert (module.grid, module.channel_axis, module.has_parameters) == (UINT8, None, True)
    assert not module.symmetric
    scale, zero_point = module.final_parameters()
    assert (scale.tolist(), zero_point.tolist(), zero_point.dtype) == ([0.25], [10], torch.int32)
    assert module(torch.tensor([-9.0, 0.3, 99.0])).tolist() == [-2.5, 0.25, 61.25]


def test_a_quantizer_has_no_schedule_and_no_parameters_of_its_own_accord():
    module = FakeQuantizerBase(INT8, symmetric=True)
    assert module.milestones is None
    assert module.symmetric
    assert module.channel_axis is None
    with pytest.raises(NotImplementedError):
        module.final_parameters()


def test_states_with_more_entries_and_other_ranks_load():
    module = FakeQuantizer(UINT8, False, RangeObserver("min_max"))
    state = {name: value.clone() for name, value in module.state_dict().items()}
    state["scale"], state["zero_point"] = torch.tensor(3.0), torch.tensor([[7]])
    state["eps"] = state["activation_post_process.eps"] = torch.tensor([0.5])
    module.load_state_dict(state)
    assert (module.scale.tolist(), module.zero_point.tolist()) == ([3], [7])
    state["scale"] = torch.ones(2)
    with pytest.raises(RuntimeError, match="size mismatch for scale"):
        module.load_state_dict(state)
    del state["scale"]
    with pytest.raises(RuntimeError, match=r'Missing key.* "scale"'):
        module.load_state_dict(state)
    assert "scale" not in module.load_state_dict(state | {"scale": torch.ones(1)}).missing_keys


def test_a_state_of_its_own_loads():
    module, other = (FakeQuantizer(UINT8, False, RangeObserver("min_max")) for _ in range(2))
    module(torch.tensor([-1.0, 3.0]))
    other.load_state_dict(module.state_dict())
    assert torch.equal(other(torch.tensor([2.0])), module(torch.tensor([2.0])))
    assert torch.equal(other.scale, module.scale)


def test_a_fixed_quantizer_loads_the_state_of_one_with_an_observer():
    module = FixedFakeQuantizer(1.0, 0)
    observed = {
        f"activation_post_process.{name}": torch.ones(1) for name in ("scale", "zero_point")
    }
    module.load_state_dict(module.state_dict() | observed | {"eps": torch.ones(1)})


def observed_learnable(symmetric, grid=UINT4, channels=None, axis=0):
    module = LearnableFakeQuantizer(grid, symmetric, RangeObserver("min_max", channels, axis))
    x = torch.tensor([[-3.0, 12.0], [-1.6, 6.0]])
    found = module(x)
    module.switch(observe=False)
    return module, x, found


@pytest.mark.parametrize("symmetric", [True, False])
def test_what_is_learned_begins_at_the_observed_range(symmetric):
    module, x, found = observed_learnable(symmetric)
    assert module.scale.requires_grad
    assert module.zero_point.requires_grad is not symmetric
    assert module.scale.tolist() == [pytest.approx(12 / 7.5 if symmetric else 1)]
    assert module.zero_point.tolist() == [7 if symmetric else 3]
    if not symmetric:
        assert found.tolist() == [[-3, 12], [-2, 6]]
    assert (found - x).abs().max() <= module.scale.item()


def test_a_learned_zero_point_counts_as_the_code_next_to_it_and_is_written_as_one():
    module, x, _ = observed_learnable(symmetric=False)
    with torch.no_grad():
        module.zero_point.fill_(3.4)
    assert module(x).tolist() == [[-3, 12], [-2, 6]]
    assert module(x * 9).tolist() == [[-3, 12], [-3, 12]]
    scale, zero_point = module.final_parameters()
    assert (zero_point.tolist(), zero_point.dtype) == ([3], torch.int32)
    assert not scale.requires_grad


@pytest.mark.parametrize(("given", "kept"), [(-2.0, 0), (99.0, 15)])
def test_parameters_that_leave_the_grid_are_brought_back(given, kept):
    module, x, _ = observed_learnable(symmetric=False)
    with torch.no_grad():
        module.zero_point.fill_(given)
        module.scale.fill_(-1.0)
    scale, zero_point = module.final_parameters()
    assert (scale.item(), zero_point.item()) == (EPSILON, kept)
    module(x)
    assert (module.scale.item(), module.zero_point.item()) == (EPSILON, kept)


@pytest.mark.parametrize("axis", [0, 1])
def test_learned_channels_are_rounded_along_their_axis_and_share_no_gradient(axis):
    module, _, _ = observed_learnable(False, INT4, channels=2, axis=axis)
    with torch.no_grad():
        module.scale.copy_(torch.tensor([1.0, 10.0]))
        module.zero_point.zero_()
    x = torch.tensor([[1.2, 34.0], [-2.6, 99.0]])
    x = x if axis else x.t().contiguous()
    found = module(x)
    expected = torch.tensor([[1.0, 30.0], [-3.0, 70.0]])
    assert torch.equal(found, expected if axis else expected.t())
    found.sum().backward()
    # Of a value within the range code - x / s, of one outside the code; two values share a scale.
    by_hand = torch.tensor([1 - 1.2 + (-3 + 2.6), 3 - 3.4 + 7]) / math.sqrt(2 * INT4.highest)
    assert module.scale.grad.tolist() == pytest.approx(by_hand.tolist(), rel=1e-5)
