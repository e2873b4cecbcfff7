"""Joining each layer with the batch norm and the activation after it, before anything is placed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from torch import fx, nn

from coreml_assay.numerics.fake_quantize import FakeQuantizerBase
from coreml_assay.optimize.torch.quantization._patterns import (
    ACTIVATIONS,
    NORMS,
    RELU_FUNCTIONS,
)
from coreml_assay.optimize.torch.quantization._trainable_layers import (
    TRAINABLE,
    TrainableLayer,
    make_trainable,
)

WeightQuantizer = Callable[[str, nn.Module], FakeQuantizerBase | None]


def fuse(traced: fx.GraphModule, weight_quantizer: WeightQuantizer) -> None:
    """Put a trainable layer in the place of each layer of a traced model.

    Args:
        traced: is changed; the model that it was traced from is not, but parameters are shared.
        weight_quantizer: gives the fake quantizer of a layer's weight by the layer's name, or None.
    """
    calls = Counter(node.target for node in traced.graph.nodes if node.op == "call_module")
    made: dict[str, TrainableLayer] = {}
    for node in list(traced.graph.nodes):
        if node.op != "call_module" or type(traced.get_submodule(node.target)) not in TRAINABLE:
            continue
        name = str(node.target)
        layer = traced.get_submodule(name)
        joinable = calls[name] == 1 and not isinstance(layer, nn.Embedding)
        norm = _norm_after(node, layer, traced, calls) if joinable else None
        bn = None if norm is None else traced.get_submodule(str(norm.target))
        last = norm or node
        is_normalized_linear = norm is not None and isinstance(layer, nn.Linear)
        after = None if is_normalized_linear or not joinable else activation_after(last, traced)
        act = None if after is None else _module_of(after, traced)
        for each in (each for each in (after, norm) if each is not None):
            each.replace_all_uses_with(node)
            node.meta.update({key: each.meta[key] for key in ("val_is_float", "rank")})
            traced.graph.erase_node(each)
        made[name] = make_trainable(layer, bn, act, weight_quantizer(name, layer))
    traced.delete_all_unused_submodules()  # before they are found inside what was made
    for name, trainable in made.items():
        _replace(traced, name, trainable)
    traced.graph.lint()
    traced.recompile()


def _norm_after(
    node: fx.Node, layer: nn.Module, traced: fx.GraphModule, calls: Counter[Any]
) -> fx.Node | None:
    """The batch norm after a layer, if it can be folded into it."""
    after = _only_user(node)
    if after is None or after.op != "call_module" or calls[after.target] > 1:
        return None
    bn: Any = traced.get_submodule(str(after.target))
    grouped_transposed = "Transpose" in type(layer).__name__ and layer.groups != 1
    matrix = not isinstance(layer, nn.Linear) or node.meta["rank"] == 2
    foldable = (
        type(bn) is NORMS[type(layer)]
        and bn.affine
        and bn.track_running_stats
        and matrix
        and not grouped_transposed
    )
    return after if foldable else None


def activation_after(node: fx.Node, traced: fx.GraphModule) -> fx.Node | None:
    """The activation that alone uses a node's output, if it is one that is joined."""
    after = _only_user(node)
    if after is None or after.args[:1] != (node,):
        return None
    if after.op == "call_function" and after.target in RELU_FUNCTIONS:
        return after
    is_module = after.op == "call_module"
    known = is_module and type(traced.get_submodule(str(after.target))) in ACTIVATIONS
    return after if known else None


def _only_user(node: fx.Node) -> fx.Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _module_of(node: fx.Node, traced: fx.GraphModule) -> nn.Module:
    return nn.ReLU() if node.op == "call_function" else traced.get_submodule(str(node.target))


def _replace(traced: fx.GraphModule, name: str, module: nn.Module) -> None:
    """Put a module under a name; a graph module's containers are its own, not the model's."""
    owner, _, last = name.rpartition(".")
    setattr(traced.get_submodule(owner), last, module)
