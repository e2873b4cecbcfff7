"""LinearQuantizer in a training loop: gradients, saved states, compiling, copies, modes."""

from __future__ import annotations

import copy
import io
import math
import pickle
import warnings

import coremltools.optimize
import pytest
import torch
from torch import nn

import coreml_assay.optimize
from coreml_assay.implementations.linear_quantizing import (
    activation_parameters,
    calibrate,
    fake_quantizers,
    make_quantizer,
)
from coreml_assay.implementations.trainable_models import MODELS
from coreml_assay.numerics import Grid
from coreml_assay.numerics.fake_quantize import (
    FakeQuantizer,
    LearnableFakeQuantizer,
    RangeObserver,
)
from coreml_assay.optimize.torch.quantization import LinearQuantizer, LinearQuantizerConfig


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.Dropout(0.5),
        nn.Flatten(),
        nn.Linear(64, 3),
    )


def batch(seed):
    return torch.randn(8, 3, 4, 4, generator=torch.Generator().manual_seed(seed))


def prepared(algorithm="vanilla", scheme="symmetric", milestones=None, **options):
    entry = {"algorithm": algorithm, "quantization_scheme": scheme, "milestones": milestones}
    config = LinearQuantizerConfig.from_dict({"global_config": entry | options})
    quantizer = LinearQuantizer(network(), config)
    return quantizer, quantizer.prepare((batch(0),))


def train_step(model, optimizer, x, seed):
    torch.manual_seed(seed)  # of dropout
    optimizer.zero_grad()
    loss = model(x).square().sum()
    loss.backward()
    optimizer.step()
    return loss.detach()


@pytest.mark.parametrize("algorithm", ["vanilla", "learnable"])
@pytest.mark.parametrize("scheme", ["symmetric", "affine"])
def test_a_state_saved_in_the_middle_of_training_continues_bit_for_bit(algorithm, scheme):
    _, one = prepared(algorithm, scheme)
    optimizer = torch.optim.SGD(one.parameters(), 0.01, momentum=0.9)
    for seed in range(3):
        train_step(one, optimizer, batch(seed), seed)
    saved = io.BytesIO()
    torch.save((one.state_dict(), optimizer.state_dict()), saved)
    saved.seek(0)
    model_state, optimizer_state = torch.load(saved)
    _, other = prepared(algorithm, scheme)
    other.load_state_dict(model_state)
    other_optimizer = torch.optim.SGD(other.parameters(), 0.01, momentum=0.9)
    other_optimizer.load_state_dict(optimizer_state)
    for seed in range(3, 6):
        expected = train_step(one, optimizer, batch(seed), seed)
        assert torch.equal(train_step(other, other_optimizer, batch(seed), seed), expected)
    for name, value in one.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


@pytest.mark.parametrize("way", [copy.deepcopy, lambda model: pickle.loads(pickle.dumps(model))])
@pytest.mark.parametrize("inplace", [True, False])
def test_copies_compute_the_same_and_are_apart(way, inplace):
    model = network()
    quantizer = LinearQuantizer(model)
    one = quantizer.prepare((batch(0),), inplace=inplace)
    one(batch(1))
    other = way(one)
    for each in (one, other):
        each.eval()
    assert torch.equal(other(batch(2)), one(batch(2)))
    other(batch(3) * 100)
    assert not torch.equal(
        other.activation_post_process_0.scale, one.activation_post_process_0.scale
    )


@pytest.mark.filterwarnings("ignore")  # of dynamo, none of ours
@pytest.mark.parametrize("algorithm", ["vanilla", "learnable"])
def test_a_step_compiles(algorithm):
    _, plain = prepared(algorithm)
    _, other = prepared(algorithm)
    compiled = torch.compile(other, backend="aot_eager")
    for model in (plain, other):
        torch.manual_seed(0)
        model(batch(0))
        model.train(False)  # dropout draws other numbers when compiled
        for _, module in fake_quantizers(model):
            module.switch(observe=False)
    losses = []
    for model, call in ((plain, plain), (other, compiled)):
        optimizer = torch.optim.SGD(model.parameters(), 0.01)
        losses.append([train_step(call, optimizer, batch(seed), seed) for seed in range(2)])
    assert torch.allclose(torch.stack(losses[0]), torch.stack(losses[1]), rtol=1e-5)


def test_a_step_under_autocast_has_finite_gradients():
    _, model = prepared()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(batch(0)).float().square().sum()
    loss.backward()
    gradients = [each.grad for each in model.parameters() if each.requires_grad]
    assert gradients
    assert all(torch.isfinite(each).all() for each in gradients)


POINTS = torch.tensor([-9.0, -3.9, -1.3, 0.0, 0.7, 3.9, 9.0], dtype=torch.float64)


def learnable(symmetric):
    grid = Grid(8, signed=False, symmetric=False)
    module = LearnableFakeQuantizer(grid, symmetric, RangeObserver("min_max")).double()
    module(torch.tensor([-4.0, 3.5], dtype=torch.float64))
    module.switch(observe=False)
    return module


@pytest.mark.parametrize("symmetric", [True, False])
def test_a_learnable_scale_moves_the_loss_as_finite_differences_say(symmetric):
    """Between ties, d(value)/d(scale) is the code's distance from zero: exact for clipped values.

    For the others the straight-through gradient replaces d(round(x/s))/ds = 0 by -x/s, so that
    much is taken off before comparing.
    """
    module = learnable(symmetric)
    scale, step = module.scale.item(), 1e-7
    out = module(POINTS)
    factor = (POINTS.numel() * module.grid.highest) ** -0.5
    out.sum().backward()
    found = module.scale.grad.item() / factor
    inside = (out.detach() - POINTS).abs() <= scale
    with torch.no_grad():
        module.scale.fill_(scale + step)
        above = module(POINTS)
        module.scale.fill_(scale - step)
        below = module(POINTS)
    differences = (above - below) / (2 * step)
    expected = (differences - torch.where(inside, POINTS / scale, 0)).sum().item()
    assert found == pytest.approx(expected, rel=1e-6)


def test_a_learnable_zero_point_has_the_gradient_of_lsq_plus():
    module = learnable(symmetric=False)
    module(POINTS).sum().backward()
    factor = (POINTS.numel() * module.grid.highest) ** -0.5
    outside = 3  # -9, 3.9 and 9; what is clipped moves against the zero point by a step each
    expected = -outside * module.scale.item() * factor
    assert module.zero_point.grad.item() == pytest.approx(expected, rel=1e-12)


def test_straight_through_gradients_are_exactly_one_inside_and_zero_outside():
    module = FakeQuantizer(Grid(8, signed=True, symmetric=False), True, RangeObserver("min_max"))
    module(torch.tensor([-1.0, 1.0]))
    module.switch(observe=False)
    x = torch.tensor([-2.0, -0.99, 0.0, 0.123, 0.99, 2.0], requires_grad=True)
    module(x).sum().backward()
    assert x.grad.tolist() == [0, 1, 1, 1, 1, 0]


def test_batch_norm_stays_frozen_when_the_model_goes_back_to_training():
    quantizer, model = prepared(milestones=[0, 0, -1, 1])
    quantizer.step()
    model(batch(0))
    quantizer.step()
    frozen = model.get_submodule("0").bn.running_mean.clone()
    model.train()
    model(batch(1))
    assert torch.equal(model.get_submodule("0").bn.running_mean, frozen)


@pytest.mark.parametrize("mode", [True, False])
def test_dropout_drops_in_training_only(mode):
    _, model = prepared()
    model(batch(0))
    model.train(mode)
    for _, module in fake_quantizers(model):
        module.switch(observe=False)
    torch.manual_seed(1)
    one = model(batch(1))
    torch.manual_seed(2)
    assert torch.equal(model(batch(1)), one) is not mode


def test_in_place_an_optimizer_made_before_goes_on_working():
    model = network()
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    quantizer = LinearQuantizer(model)
    assert quantizer.prepare((batch(0),), inplace=True) is model
    before = model.get_submodule("0").weight.clone()
    train_step(model, optimizer, batch(0), 0)
    assert not torch.equal(model.get_submodule("0").weight, before)


class Choosing(nn.Module):
    def forward(self, x):
        return x if x.sum() > 0 else -x


def test_a_model_that_cannot_be_traced_is_an_error_that_says_where_and_what_to_do():
    model = nn.Sequential(nn.Linear(3, 4), Choosing())
    with pytest.raises(ValueError, match=r"'1' \(Choosing\).*line \d+ of .*add '1' to non_trac"):
        LinearQuantizer(model).prepare((torch.zeros(1, 3),))
    config = LinearQuantizerConfig(non_traceable_module_names=["1"])
    LinearQuantizer(model, config).prepare((torch.zeros(1, 3),))


def test_other_wrong_arguments_are_named():
    model = nn.Sequential(nn.Linear(3, 4))
    with pytest.raises(ValueError, match="the model does not run on example_inputs"):
        LinearQuantizer(model).prepare((torch.zeros(1, 7),))
    config = LinearQuantizerConfig(non_traceable_module_names=["9"])
    with pytest.raises(ValueError, match="has no module '9'"):
        LinearQuantizer(model, config).prepare((torch.zeros(1, 3),))
    config = LinearQuantizerConfig(preserved_attributes=["key"])
    with pytest.raises(ValueError, match="has no attribute 'key'"):
        LinearQuantizer(model, config).prepare((torch.zeros(1, 3),))


def test_unobserved_quantizers_are_an_error_where_that_is_asked_for():
    quantizer = LinearQuantizer(nn.Sequential(nn.Linear(3, 4)))
    quantizer.prepare((torch.zeros(1, 3),))
    with pytest.raises(ValueError, match=r"activation_post_process_0.*have seen no data"):
        quantizer.finalize(unobserved_is_error=True)


def test_nothing_of_torch_ao_is_left_in_what_comes_of_it():
    quantizer, model = prepared()
    model(batch(0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        finalized = quantizer.finalize()
    for each in (model, finalized):
        assert not [m for m in each.modules() if type(m).__module__.startswith("torch.ao")]


def test_a_deep_copy_of_a_prepared_model_keeps_the_preserved_attributes():
    class WithKey(nn.Sequential):
        key = 3

        def doubled(self):
            return 2 * self.key

        @property
        def tripled(self):
            return 3 * self.key

    config = LinearQuantizerConfig(preserved_attributes=["key", "doubled", "tripled"])
    quantizer = LinearQuantizer(WithKey(nn.Linear(3, 4)), config)
    made = quantizer.prepare((torch.zeros(1, 3),))
    for copied in (copy.deepcopy(made), copy.deepcopy(copy.deepcopy(made))):
        copied.key = 4
        assert (copied.doubled(), copied.tripled, made.doubled()) == (8, 12, 6)


@pytest.mark.parametrize("number", [math.nan, math.inf])
def test_what_is_not_finite_is_named_however_many_batches_follow(number):
    quantizer, model = prepared(activation_observer="min_max")
    for value in (1.0, number, 1.0):
        model(batch(0) * value)
    with pytest.raises(ValueError, match=r"activation_post_process_0.* NaN or infinite"):
        quantizer.finalize()


def test_a_weight_that_is_not_finite_is_named():
    quantizer, model = prepared()
    with torch.no_grad():
        model.get_submodule("5").weight[0, 0] = math.nan
    model(batch(0))
    with pytest.raises(ValueError, match=r"5\.weight_fake_quant.* NaN or infinite"):
        quantizer.finalize()


@pytest.mark.filterwarnings("ignore")  # coremltools', of what it uses being deprecated
@pytest.mark.parametrize(
    "name", ["conv-relu", "conv-bn-relu6", "conv-prelu", "conv-sigmoid", "learnable", "transposed"]
)
def test_the_state_of_a_model_that_coremltools_prepared_loads(name):
    entry = MODELS[name]
    theirs = calibrate(coremltools.optimize.torch.quantization, entry).prepared
    quantizer = make_quantizer(
        coreml_assay.optimize.torch.quantization, entry.build(), entry.config
    )
    ours = quantizer.prepare(entry.batches()[0])
    ours.load_state_dict(theirs.state_dict())
    loaded, given = activation_parameters(ours), activation_parameters(theirs)
    assert loaded.keys() == given.keys()
    for key, parameters in given.items():
        assert (loaded[key].scale == parameters.scale).all()
        assert (loaded[key].zero_point == parameters.zero_point).all()
    ours.load_state_dict(copy.deepcopy(ours).state_dict())
