"""Recurrent networks. Source: ``recurrent`` of iOS15, iOS17, iOS18.

Where the documentation leaves things open, coremltools' own tests of the operations on Core ML
decide: the direction ``reverse`` returns its steps in the order in which it made them, peepholes
of the input and forget gates see the old cell and that of the output gate the new one, clipping
applies to the new cell, and ``gru`` without reset_after resets the state before multiplying it.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional

from coreml_assay.mil.ops._arguments import Operation

_Activation = Callable[[torch.Tensor], torch.Tensor]

# hard_sigmoid and scaled_tanh have the constants of Core ML's neural network format.
_ACTIVATIONS: dict[str, _Activation] = {
    "hard_sigmoid": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "linear": lambda x: x,
    "relu": torch.relu,
    "scaled_tanh": lambda x: 1.7159 * torch.tanh(2 / 3 * x),
    "sigmoid": torch.sigmoid,
    "sigmoid_hard": lambda x: torch.clamp(0.2 * x + 0.5, 0, 1),
    "tanh": torch.tanh,
}


def _in_order(x: torch.Tensor, direction: str) -> torch.Tensor:
    """The sequence as it is walked through."""
    if direction not in ("forward", "reverse"):
        raise ValueError(f"unknown direction {direction!r}")
    return x.flip(0) if direction == "reverse" else x


def _sequence(steps: list[torch.Tensor], output_sequence: bool) -> torch.Tensor:
    """All steps [s, b, H], or the last one [1, b, H]."""
    return torch.stack(steps) if output_sequence else steps[-1].unsqueeze(0)


def rnn(
    *,
    x: torch.Tensor,
    initial_h: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[torch.Tensor, torch.Tensor]:
    """h_t = activation(W_ih x_t + W_hh h_{t-1} + b) over x [s, b, I]: steps and last state."""
    act = _ACTIVATIONS[activation]
    h, steps = initial_h, []
    for driven in functional.linear(_in_order(x, direction), weight_ih, bias):
        h = act(driven + functional.linear(h, weight_hh))
        steps.append(h)
    return _sequence(steps, output_sequence), h


def gru(
    *,
    x: torch.Tensor,
    initial_h: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor | None = None,
    input_bias: torch.Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    activation: str = "tanh",
    reset_after: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """A gated recurrent unit over x [s, b, I]: steps and last state.

    Weights and biases hold the gates in the order r, o, z. With reset_after (iOS18) bias belongs
    to the hidden state's product, which is reset with it, and input_bias to the input's.
    """
    gate, act = _ACTIVATIONS[recurrent_activation], _ACTIVATIONS[activation]
    hidden = initial_h.shape[-1]
    w_r, w_o, w_z = weight_hh.split(hidden)
    b = weight_hh.new_zeros(3 * hidden) if bias is None else bias
    b_r, b_o, b_z = b.split(hidden)
    h, steps = initial_h, []
    for driven in functional.linear(_in_order(x, direction), weight_ih, input_bias):
        x_r, x_o, x_z = driven.split(hidden, -1)
        r = gate(x_r + functional.linear(h, w_r, b_r))
        z = gate(x_z + functional.linear(h, w_z, b_z))
        if reset_after:
            o = act(x_o + r * functional.linear(h, w_o, b_o))
        else:
            o = act(x_o + functional.linear(r * h, w_o, b_o))
        h = (1 - z) * o + z * h
        steps.append(h)
    return _sequence(steps, output_sequence), h


def lstm(
    *,
    x: torch.Tensor,
    initial_h: torch.Tensor,
    initial_c: torch.Tensor,
    weight_ih: torch.Tensor,
    weight_hh: torch.Tensor,
    bias: torch.Tensor | None = None,
    peephole: torch.Tensor | None = None,
    weight_ih_back: torch.Tensor | None = None,
    weight_hh_back: torch.Tensor | None = None,
    bias_back: torch.Tensor | None = None,
    peephole_back: torch.Tensor | None = None,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
    clip: float | None = None,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A long short-term memory over x [s, b, I]: steps, last hidden state, last cell.

    Weights and biases hold the gates in the order i, f, o, z; states of a bidirectional one the
    forward direction first.
    """
    acts = (
        _ACTIVATIONS[recurrent_activation],
        _ACTIVATIONS[cell_activation],
        _ACTIVATIONS[activation],
    )
    if direction != "bidirectional":
        steps, h, c = _lstm(
            _in_order(x, direction),
            (initial_h, initial_c),
            (weight_ih, weight_hh, bias, peephole),
            acts,
            clip,
        )
        return _sequence(steps, output_sequence), h, c
    if weight_ih_back is None or weight_hh_back is None:
        raise ValueError("direction 'bidirectional' needs weights for the way back")
    h_there, h_back = initial_h.chunk(2, -1)
    c_there, c_back = initial_c.chunk(2, -1)
    there = (weight_ih, weight_hh, bias, peephole)
    back = (weight_ih_back, weight_hh_back, bias_back, peephole_back)
    steps, h_there, c_there = _lstm(x, (h_there, c_there), there, acts, clip)
    steps_back, h_back, c_back = _lstm(x.flip(0), (h_back, c_back), back, acts, clip)
    if output_sequence:  # each step beside the one at the same place in the sequence
        y = torch.cat([torch.stack(steps), torch.stack(steps_back).flip(0)], -1)
    else:
        y = torch.cat([h_there, h_back], -1).unsqueeze(0)
    return y, torch.cat([h_there, h_back], -1), torch.cat([c_there, c_back], -1)


def _lstm(
    x: torch.Tensor,
    state: tuple[torch.Tensor, torch.Tensor],
    weights: tuple[torch.Tensor, torch.Tensor, torch.Tensor | None, torch.Tensor | None],
    activations: tuple[_Activation, _Activation, _Activation],
    clip: float | None,
) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor]:
    """One direction: the hidden state after each step, the last hidden state, the last cell."""
    (h, c), (w_ih, w_hh, bias, peephole) = state, weights
    gate, cell_activation, activation = activations
    p = w_hh.new_zeros(3 * h.shape[-1]) if peephole is None else peephole
    p_i, p_f, p_o = p.chunk(3)
    steps = []
    for driven in functional.linear(x, w_ih, bias):
        i, f, o, z = (driven + functional.linear(h, w_hh)).chunk(4, -1)
        i, f = gate(i + p_i * c), gate(f + p_f * c)
        c = f * c + i * cell_activation(z)
        if clip is not None:
            c = c.clamp(-clip, clip)
        h = gate(o + p_o * c) * activation(c)
        steps.append(h)
    return steps, h, c


RECURRENT: dict[str, Operation] = {"gru": gru, "lstm": lstm, "rnn": rnn}
