"""From a model to a graph of its calls, by torch.fx; errors say where and what can be done."""

from __future__ import annotations

import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import fx, nn
from torch.fx.passes.shape_prop import ShapeProp


class _Tracer(fx.Tracer):
    """Calls modules of PyTorch, and those named, as they are."""

    def __init__(self, leaves: Sequence[str]) -> None:
        super().__init__()
        self.leaves = set(leaves)
        self.failed: str | None = None  # the innermost module whose forward failed

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return module_qualified_name in self.leaves or super().is_leaf_module(
            m, module_qualified_name
        )

    def call_module(self, m: nn.Module, forward: Any, args: Any, kwargs: Any) -> Any:
        try:
            return super().call_module(m, forward, args, kwargs)
        except Exception:
            self.failed = self.failed or self.path_of_module(m)
            raise


def trace(
    model: nn.Module, example_inputs: tuple[Any, ...], leaves: Sequence[str]
) -> fx.GraphModule:
    """The graph of a model's calls, its modules the model's own.

    Args:
        model: is run once on the example, in evaluation mode, without gradients.
        example_inputs: arguments of its forward.
        leaves: qualified names of modules that are not looked into.

    Returns:
        A graph module; each node's ``meta["val_is_float"]`` says whether it gives a floating-point
        tensor, and ``meta["rank"]`` its rank.

    Raises:
        ValueError: a name in ``leaves`` is no module of the model, the model cannot be traced, or
            does not run on the example.
    """
    names = {name for name, _ in model.named_modules()}
    for leaf in leaves:
        if leaf not in names:
            raise ValueError(f"non_traceable_module_names: the model has no module {leaf!r}")
    tracer = _Tracer(leaves)
    try:
        graph = tracer.trace(model)
    except Exception as error:
        raise ValueError(_explanation(model, tracer.failed, error)) from error
    graph._tracer_cls = None  # else unpickling would trace by ours, without its arguments
    traced = fx.GraphModule(model, graph, type(model).__name__)
    _run(traced, example_inputs)
    return traced


def _explanation(model: nn.Module, failed: str | None, error: Exception) -> str:
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if "torch" not in Path(frame.filename).parts and frame.name == "forward"
    ]
    where = f", line {frames[-1].lineno} of {frames[-1].filename}" if frames else ""
    cause = " ".join(str(error).split())
    if failed is None:
        return (
            f"the forward of {type(model).__name__} itself cannot be traced{where}: {cause}; move "
            "what depends on data into a module of its own and name that in "
            "non_traceable_module_names"
        )
    kind = type(model.get_submodule(failed)).__name__
    return (
        f"the module {failed!r} ({kind}) cannot be traced{where}: {cause}; to leave it as it is, "
        f"add {failed!r} to non_traceable_module_names"
    )


def _run(traced: fx.GraphModule, example_inputs: tuple[Any, ...]) -> None:
    """Note what kind of value each node gives."""
    modes = {module: module.training for module in traced.modules()}
    traced.eval()
    try:
        with torch.no_grad():
            ShapeProp(traced).propagate(*example_inputs)
    except Exception as error:
        cause = " ".join(str(error.__cause__ or error).split())[:300]
        raise ValueError(f"the model does not run on example_inputs: {cause}") from error
    finally:
        for module, training in modes.items():
            module.training = training
    for node in traced.graph.nodes:
        found = node.meta.pop("tensor_meta", None)
        dtype = getattr(found, "dtype", None)
        node.meta["val_is_float"] = dtype is not None and dtype.is_floating_point
        node.meta["rank"] = len(found.shape) if dtype is not None else None
