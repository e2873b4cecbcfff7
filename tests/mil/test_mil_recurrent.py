"""Recurrent networks against torch and ONNX Runtime."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from coremltools.converters.mil import Builder as mb
from mil_helpers import IOS15, IOS17, IOS18, assert_close, checks, evaluate, normal, onnx_run

STEPS, BATCH, INPUT, HIDDEN = 5, 2, 3, 4
SEQUENCE, STATE = normal(STEPS, BATCH, INPUT), normal(BATCH, HIDDEN, seed=9)


def gates(count, *shape, seed):
    """One random array for each gate."""
    return [normal(*shape, seed=seed + i) * 0.5 for i in range(count)]


def pick(arrays, *order):
    """The gates' arrays in another order, one after the other."""
    return np.concatenate([arrays[i] for i in order])


@checks("rnn", against="torch")
@pytest.mark.parametrize("activation", ["tanh", "relu"])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
@pytest.mark.parametrize("output_sequence", [True, False])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_rnn(activation, direction, output_sequence, opset):
    weight_ih, weight_hh = normal(HIDDEN, INPUT, seed=1), normal(HIDDEN, HIDDEN, seed=2) * 0.5
    bias = normal(HIDDEN, seed=3)
    sequence, last = evaluate(
        lambda x, h: mb.rnn(
            x=x,
            initial_h=h,
            weight_ih=weight_ih,
            weight_hh=weight_hh,
            bias=bias,
            direction=direction,
            output_sequence=output_sequence,
            activation=activation,
        ),
        opset,
        x=SEQUENCE,
        h=STATE,
    )
    twin = torch.nn.RNN(INPUT, HIDDEN, nonlinearity=activation)
    load(twin, weight_ih, weight_hh, bias)
    steps, state = run(twin, direction, torch.from_numpy(STATE)[None])
    assert_close(sequence, steps if output_sequence else steps[-1:])
    assert_close(last, state[0])


def load(twin, weight_ih, weight_hh, bias, bias_hh=None, suffix=""):
    """Give a torch layer these weights."""
    arrays = {
        f"weight_ih_l0{suffix}": weight_ih,
        f"weight_hh_l0{suffix}": weight_hh,
        f"bias_ih_l0{suffix}": bias,
        f"bias_hh_l0{suffix}": np.zeros_like(bias) if bias_hh is None else bias_hh,
    }
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    twin.load_state_dict({**twin.state_dict(), **tensors})


def run(twin, direction, state):
    """A torch layer's steps, in the order it makes them, and its last state."""
    x = torch.from_numpy(SEQUENCE)
    with torch.no_grad():
        return twin(x.flip(0) if direction == "reverse" else x, state)


@checks("gru", against="onnxruntime")
@pytest.mark.parametrize("opset", [IOS15, IOS17, IOS18])
@pytest.mark.parametrize("direction", ["forward", "reverse"])
def test_gru_resets_the_state_before_multiplying_it(opset, direction):
    w, r = gates(3, HIDDEN, INPUT, seed=10), gates(3, HIDDEN, HIDDEN, seed=20)
    b = gates(3, HIDDEN, seed=30)
    sequence, last = evaluate(
        lambda x, h: mb.gru(
            x=x,
            initial_h=h,
            weight_ih=pick(w, 0, 1, 2),
            weight_hh=pick(r, 0, 1, 2),
            bias=pick(b, 0, 1, 2),
            direction=direction,
            output_sequence=True,
        ),
        opset,
        x=SEQUENCE,
        h=STATE,
    )
    # MIL orders the gates r, o, z and ONNX z, r, h.
    steps, state = onnx_run(
        "GRU",
        [
            SEQUENCE,
            pick(w, 2, 0, 1)[None],
            pick(r, 2, 0, 1)[None],
            np.concatenate([pick(b, 2, 0, 1), np.zeros(3 * HIDDEN, np.float32)])[None],
            None,
            STATE[None],
        ],
        outputs=2,
        hidden_size=HIDDEN,
        direction=direction,
        linear_before_reset=0,
    )
    # ONNX puts the steps of the reverse direction back in the sequence's order.
    assert_close(sequence, steps[::-1, 0] if direction == "reverse" else steps[:, 0])
    assert_close(last, state[0])


@checks("gru", against="torch")
def test_gru_may_reset_after_multiplying():
    w, r = gates(3, HIDDEN, INPUT, seed=10), gates(3, HIDDEN, HIDDEN, seed=20)
    b_i, b_h = gates(3, HIDDEN, seed=30), gates(3, HIDDEN, seed=40)
    sequence, last = evaluate(
        lambda x, h: mb.gru(
            x=x,
            initial_h=h,
            weight_ih=pick(w, 0, 2, 1),
            weight_hh=pick(r, 0, 2, 1),
            input_bias=pick(b_i, 0, 2, 1),
            bias=pick(b_h, 0, 2, 1),
            reset_after=True,
            output_sequence=True,
        ),
        IOS18,
        x=SEQUENCE,
        h=STATE,
    )
    # torch orders the gates r, z, n.
    twin = torch.nn.GRU(INPUT, HIDDEN)
    load(twin, *(pick(arrays, 0, 1, 2) for arrays in (w, r, b_i, b_h)))
    steps, state = run(twin, "forward", torch.from_numpy(STATE)[None])
    assert_close(sequence, steps)
    assert_close(last, state[0])


@checks("lstm", against="torch")
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("output_sequence", [True, False])
@pytest.mark.parametrize("opset", [IOS15, IOS17])
def test_lstm(direction, output_sequence, opset):
    both = 2 if direction == "bidirectional" else 1
    h, c = normal(BATCH, both * HIDDEN, seed=5), normal(BATCH, both * HIDDEN, seed=6)
    twin = torch.nn.LSTM(INPUT, HIDDEN, bidirectional=both == 2)
    arguments = {}
    for index, (ending, suffix) in enumerate([("", ""), ("_back", "_reverse")][:both]):
        w = gates(4, HIDDEN, INPUT, seed=10 + 100 * index)
        r = gates(4, HIDDEN, HIDDEN, seed=20 + 100 * index)
        b = gates(4, HIDDEN, seed=30 + 100 * index)
        # MIL orders the gates i, f, o, z and torch i, f, z, o.
        arguments[f"weight_ih{ending}"] = pick(w, 0, 1, 3, 2)
        arguments[f"weight_hh{ending}"] = pick(r, 0, 1, 3, 2)
        arguments[f"bias{ending}"] = pick(b, 0, 1, 3, 2)
        load(twin, *(pick(arrays, 0, 1, 2, 3) for arrays in (w, r, b)), suffix=suffix)
    sequence, last_h, last_c = evaluate(
        lambda x, h, c: mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            direction=direction,
            output_sequence=output_sequence,
            **arguments,
        ),
        opset,
        flexible={"x": (None, BATCH, INPUT)},
        x=SEQUENCE,
        h=h,
        c=c,
    )

    def layered(state):
        return torch.from_numpy(np.stack(np.split(state, both, -1)))

    steps, (state_h, state_c) = run(twin, direction, (layered(h), layered(c)))
    joined_h, joined_c = (torch.cat(list(s), -1) for s in (state_h, state_c))
    assert_close(sequence, steps if output_sequence else joined_h[None])
    assert_close(last_h, joined_h)
    assert_close(last_c, joined_c)


@checks("lstm", against="onnxruntime")
@pytest.mark.parametrize(
    "activations", [("sigmoid", "tanh", "tanh"), ("hard_sigmoid", "relu", "tanh")]
)
def test_lstm_with_peepholes_and_other_activations(activations):
    w, r = gates(4, HIDDEN, INPUT, seed=10), gates(4, HIDDEN, HIDDEN, seed=20)
    b, p = gates(4, HIDDEN, seed=30), gates(3, HIDDEN, seed=40)
    cell = normal(BATCH, HIDDEN, seed=6)
    gate, cell_activation, activation = activations
    sequence, last_h, last_c = evaluate(
        lambda x, h, c: mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            weight_ih=pick(w, 0, 1, 2, 3),
            weight_hh=pick(r, 0, 1, 2, 3),
            bias=pick(b, 0, 1, 2, 3),
            peephole=pick(p, 0, 1, 2),
            output_sequence=True,
            recurrent_activation=gate,
            cell_activation=cell_activation,
            activation=activation,
        ),
        x=SEQUENCE,
        h=STATE,
        c=cell,
    )
    # ONNX orders the gates i, o, f, c and the peepholes i, o, f.
    names = {"hard_sigmoid": "HardSigmoid", "relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh"}
    bias = np.concatenate([pick(b, 0, 2, 1, 3), np.zeros(4 * HIDDEN, np.float32)])
    steps, state_h, state_c = onnx_run(
        "LSTM",
        [
            SEQUENCE,
            pick(w, 0, 2, 1, 3)[None],
            pick(r, 0, 2, 1, 3)[None],
            bias[None],
            None,
            STATE[None],
            cell[None],
            pick(p, 0, 2, 1)[None],
        ],
        outputs=3,
        hidden_size=HIDDEN,
        activations=[names[name] for name in activations],
    )
    assert_close(sequence, steps[:, 0])
    assert_close(last_h, state_h[0])
    assert_close(last_c, state_c[0])


@checks("lstm", against="arithmetic")
def test_lstm_clips_its_cell():
    one, zero = np.ones((4, 1), np.float32), np.zeros((4, 1), np.float32)
    arguments = {"weight_ih": one * 100, "weight_hh": zero, "clip": np.float32(0.25)}
    found = evaluate(
        lambda x, h, c: mb.lstm(
            x=x,
            initial_h=h,
            initial_c=c,
            activation="linear",
            cell_activation="linear",
            **arguments,
        ),
        x=np.ones((1, 1, 1), np.float32),
        h=np.zeros((1, 1), np.float32),
        c=np.zeros((1, 1), np.float32),
    )
    # The gates are open (sigmoid(100) = 1), so the cell would be 100.
    assert [array.item() for array in found] == [0.25, 0.25, 0.25]


@checks("rnn", against="arithmetic")
@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("linear", 0.75),
        ("sigmoid", 1 / (1 + np.exp(-0.75))),
        ("sigmoid_hard", 0.2 * 0.75 + 0.5),
        ("scaled_tanh", 1.7159 * np.tanh(2 / 3 * 0.75)),
    ],
)
def test_rnn_activations(activation, expected):
    one = np.ones((1, 1), np.float32)
    last = evaluate(
        lambda x, h: mb.rnn(x=x, initial_h=h, weight_ih=one, weight_hh=one, activation=activation),
        x=np.full((1, 1, 1), 0.5, np.float32),
        h=np.full((1, 1), 0.25, np.float32),
    )[1]
    assert_close(last, [[expected]])
