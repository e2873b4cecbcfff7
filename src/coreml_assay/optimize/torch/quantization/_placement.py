"""Where the fake quantizers of activations go, node by node in the order of the graph."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import fx, nn

from coreml_assay.optimize.torch.quantization import _fake_quantizers
from coreml_assay.optimize.torch.quantization._fusion import activation_after
from coreml_assay.optimize.torch.quantization._linear_config import ModuleLinearQuantizerConfig
from coreml_assay.optimize.torch.quantization._patterns import (
    ADDITIONS,
    ARITHMETIC,
    PRODUCTS,
    Role,
    is_non_negative,
    kind_of,
    known_range,
    role_of,
)
from coreml_assay.optimize.torch.quantization._trainable_layers import TrainableLayer

NAME = "activation_post_process_"
ConfigOf = Callable[[fx.Node], ModuleLinearQuantizerConfig | None]


def place(traced: fx.GraphModule, config_of: ConfigOf) -> None:
    """Insert fake quantizers into a traced model whose layers have been joined.

    Args:
        traced: is changed.
        config_of: the configuration of a node that calls something, None to leave it alone.
    """
    placement = _Placement(traced, config_of)
    for node in list(traced.graph.nodes):
        placement.visit(node)
    traced.graph.lint()
    traced.recompile()


class _Placement:
    """The quantizers placed so far.

    Attributes:
        quantized: a value's node -> the node of its fake quantizer.
        non_negative: the values whose quantizers spend all codes on numbers from zero on.
    """

    def __init__(self, traced: fx.GraphModule, config_of: ConfigOf) -> None:
        self.traced = traced
        self.config_of = config_of
        self.modules = dict(traced.named_modules(remove_duplicate=False))
        self.quantized: dict[fx.Node, fx.Node] = {}
        self.non_negative: set[fx.Node] = set()
        self.joined: dict[fx.Node, fx.Node] = {}  # an activation -> the arithmetic before it
        self.dropped: dict[fx.Node, fx.Node] = {}  # a dropout -> the value it takes from
        self.count = 0

    def visit(self, node: fx.Node) -> None:
        """Quantize what a node takes and gives, as its role asks."""
        kind = kind_of(node, self.modules)
        if kind is None:
            return
        layer = self.modules.get(str(node.target)) if node.op == "call_module" else None
        role = Role.COMPUTES if isinstance(layer, TrainableLayer) else role_of(kind)
        config = self.config_of(self.joined.get(node, node))
        if role is Role.OTHER or config is None or not config.quantizes_activations:
            return
        if node not in self.joined:
            self._quantize_inputs(node, config)
        if role is Role.DROPS:
            self.count += 1  # it counts as if it had a quantizer
            self.dropped[node] = self._source(node.args[0])
            return
        if not node.meta["val_is_float"]:
            return
        after = activation_after(node, self.traced) if kind in ARITHMETIC else None
        if after is not None:  # together they have one quantizer, after the activation
            self.joined[after] = node
            return
        if role is Role.PASSES:
            self._share(node, self._source(node.args[0]))
        elif role is Role.JOINS:
            self._join(node)
        else:
            self._quantize_output(node, kind, config)

    def _quantize_inputs(self, node: fx.Node, config: ModuleLinearQuantizerConfig) -> None:
        takes = node.all_input_nodes if role_of(node.target) is Role.JOINS else _tensors(node)
        for value in takes:
            settled = value in self.quantized.values() or value in self.dropped
            if settled or not value.meta.get("val_is_float"):
                continue
            if value not in self.quantized:
                kind = self._output_kind(value)
                self._insert(value, config, is_non_negative(kind), known_range(kind))
            node.replace_input_with(value, self.quantized[value])

    def _quantize_output(
        self, node: fx.Node, kind: Any, config: ModuleLinearQuantizerConfig
    ) -> None:
        last = self._output_kind(node)
        non_negative = is_non_negative(last) or self._adds_non_negatives(node, kind)
        quantizer = self._insert(node, config, non_negative, known_range(last))
        node.replace_all_uses_with(quantizer, delete_user_cb=lambda user: user is not quantizer)

    def _output_kind(self, node: fx.Node) -> Any:
        """The class or function that a node's output comes from last."""
        layer = self.modules.get(str(node.target)) if node.op == "call_module" else None
        act = layer.act if isinstance(layer, TrainableLayer) else None
        return kind_of(node, self.modules) if act is None else type(act)

    def _adds_non_negatives(self, node: fx.Node, kind: Any) -> bool:
        if kind not in ADDITIONS + PRODUCTS:
            return False
        sources = [self._source(each) for each in node.args if isinstance(each, fx.Node)]
        return len(sources) > 1 and all(source in self.non_negative for source in sources)

    def _insert(
        self,
        value: fx.Node,
        config: ModuleLinearQuantizerConfig,
        non_negative: bool,
        known: tuple[float, int] | None,
    ) -> fx.Node:
        module = _fake_quantizers.for_activation(config, non_negative=non_negative, known=known)
        if non_negative:
            self.non_negative.add(value)
        return self._call(value, module)

    def _call(self, value: fx.Node, module: nn.Module) -> fx.Node:
        """A call of a fake quantizer, under a new name, right after its value."""
        name = f"{NAME}{self.count}"
        self.count += 1
        self.traced.add_submodule(name, module)
        self.modules[name] = module
        with self.traced.graph.inserting_after(value):
            node = self.traced.graph.call_module(name, (value,))
        node.meta.update(value.meta)
        self.quantized[value] = node
        return node

    def _source(self, node: Any) -> Any:
        """The value behind a call of a fake quantizer or of dropout."""
        node = node.args[0] if node in self.quantized.values() else node
        return self.dropped.get(node, node)

    def _share(self, node: fx.Node, source: Any) -> None:
        """Give a node's output the quantizer of another value."""
        if source not in self.quantized:
            return
        if source in self.non_negative:
            self.non_negative.add(node)
        quantizer = self._call(node, self.modules[str(self.quantized[source].target)])
        node.replace_all_uses_with(quantizer, delete_user_cb=lambda user: user is not quantizer)

    def _join(self, node: fx.Node) -> None:
        """One quantizer for what is concatenated and what comes of it."""
        sources = [self._source(each) for each in node.all_input_nodes]
        sources = [source for source in sources if source in self.quantized]
        if not sources:
            return
        if not all(source in self.non_negative for source in sources):
            self.non_negative.difference_update(sources)
            config = self.config_of(node)
            assert config is not None
            shared = _fake_quantizers.for_activation(config, non_negative=False, known=None)
            for source in sources:
                self._set(source, shared)
        # Ranges from zero on stay apart but for the first's, which is the output's.
        self._share(node, sources[0])

    def _set(self, value: fx.Node, module: nn.Module) -> None:
        """Replace a value's quantizer, and with it those that shared it."""
        old = self.modules[str(self.quantized[value].target)]
        for name, found in list(self.modules.items()):
            if found is old:
                setattr(self.traced, name, module)
                self.modules[name] = module


def _tensors(node: fx.Node) -> list[fx.Node]:
    """The values that a node computes with: for a call of a layer's function, its first alone."""
    return [each for each in node.args if isinstance(each, fx.Node)]
