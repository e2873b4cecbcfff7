"""Running an implementation's LinearQuantizer on a model, and looking at what comes of it.

Nothing here imports torch before a model is there.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import attrs
import coremltools as ct
import numpy as np

from coreml_assay.implementations.torch_models import TorchWeight, torch_weights
from coreml_assay.implementations.trainable_model import TrainableModel
from coreml_assay.mil.program import Program
from coreml_assay.mil.samples import TARGETS
from coreml_assay.numerics.blocks import Array

QUANTIZER = "activation_post_process_"
"""How the names of fake quantizers of activations start."""


@attrs.frozen(eq=False)
class Calibrated:
    """A model after calibration.

    Attributes:
        quantizer: the LinearQuantizer.
        prepared: what prepare returned, in evaluation mode.
        finalized: what finalize returned.
    """

    quantizer: Any
    prepared: Any
    finalized: Any


@attrs.frozen(eq=False)
class Parameters:
    """What a fake quantizer quantizes by; arrays of one element if per tensor."""

    scale: Array
    zero_point: Array


def make_quantizer(quantization: Any, model: Any, config: Any) -> Any:
    """A LinearQuantizer for a model, configured as by ``LinearQuantizerConfig.from_dict``."""
    return quantization.LinearQuantizer(
        model, quantization.LinearQuantizerConfig.from_dict(dict(config))
    )


def calibrate(quantization: Any, entry: TrainableModel) -> Calibrated:
    """The documented calibration, from prepare to finalize, keeping what prepare returns.

    Args:
        quantization: a namespace like coremltools.optimize.torch.quantization.
        entry: the model.
    """
    import torch

    torch.manual_seed(0)  # of dropout
    batches = entry.batches()
    quantizer = make_quantizer(quantization, entry.build(), entry.config)
    prepared = quantizer.prepare(batches[0])
    quantizer.step()
    with torch.no_grad():
        for batch in batches:
            prepared(*batch)
    prepared.eval()
    return Calibrated(quantizer, prepared, quantizer.finalize())


def convert(entry: TrainableModel, finalized: Any) -> Program:
    """The float32 program that a finalized model is converted to, for its entry's target."""
    import torch

    example = entry.batches()[0]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's tracer and coremltools warn about each other
        return ct.convert(
            torch.jit.trace(finalized.eval(), example),
            inputs=[
                ct.TensorType(shape=tuple(x.shape), dtype=x.numpy().dtype.type) for x in example
            ],
            minimum_deployment_target=TARGETS[entry.target],
            convert_to="milinternal",
            compute_precision=ct.precision.FLOAT32,
        )


def activation_parameters(prepared: Any) -> dict[str, Parameters]:
    """Name of each activation's fake quantizer to its parameters, in the order of the graph.

    Fixed and observed ones alike; one that is shared stands under each of its names.
    """
    state = prepared.state_dict()
    names = dict.fromkeys(
        str(node.target) for node in prepared.graph.nodes if is_fake_quantizer(node)
    )
    return {
        name: Parameters(_array(state[f"{name}.scale"]), _array(state[f"{name}.zero_point"]))
        for name in names
    }


def shared_quantizers(prepared: Any) -> tuple[tuple[str, ...], ...]:
    """The names of activations' fake quantizers that are the same module, group by group."""
    groups: dict[int, list[str]] = {}
    for name in activation_parameters(prepared):
        groups.setdefault(id(prepared.get_submodule(name)), []).append(name)
    return tuple(tuple(names) for names in groups.values() if len(names) > 1)


def is_fake_quantizer(node: Any) -> bool:
    """Whether a node of a graph calls a fake quantizer of an activation."""
    return node.op == "call_module" and str(node.target).startswith(QUANTIZER)


def placement(prepared: Any) -> list[str]:
    """One line for each node of a prepared model's graph: what is called with whose results.

    Fake quantizers are called ``quantize``, without their number.
    """
    names = {node: _label(node) for node in prepared.graph.nodes}
    return [
        f"{names[node]}({', '.join(names[each] for each in node.all_input_nodes)})"
        for node in prepared.graph.nodes
        if node.op != "get_attr"
    ]


def _label(node: Any) -> str:
    if is_fake_quantizer(node):
        return f"quantize {_label(node.args[0])}"
    if node.op == "call_function":
        return str(getattr(node.target, "__name__", node.target))
    if node.op in ("placeholder", "output"):
        return str(node.op)
    return str(node.target)


def layer_weights(calibrated: Calibrated) -> dict[str, TorchWeight]:
    """Name of each quantized layer of the prepared model to its weight in the finalized one.

    Scales and zero points have the rank of the weight, whatever rank they are stored with.
    """
    layers = sorted(
        {str(node.target) for node in calibrated.prepared.graph.nodes if node.op == "call_module"},
        key=len,
        reverse=True,
    )
    found = {}
    for name, weight in torch_weights(calibrated.finalized).items():
        owner = name.rpartition(".")[0]
        if weight.is_quantized:
            layer = next(each for each in layers if f"{owner}.".startswith(f"{each}."))
            found[layer] = _of_full_rank(weight)
    return dict(sorted(found.items()))


def _of_full_rank(weight: TorchWeight) -> TorchWeight:
    rank = weight.values.ndim

    def raised(array: Array | None) -> Array | None:
        return None if array is None else array.reshape(*array.shape, *[1] * (rank - array.ndim))

    return attrs.evolve(weight, scale=raised(weight.scale), zero_point=raised(weight.zero_point))


def fake_quantizers(prepared: Any) -> Iterator[tuple[str, Any]]:
    """Name and module of everything in a prepared model that can observe and fake-quantize."""
    for name, module in prepared.named_modules():
        if hasattr(module, "fake_quant_enabled") and hasattr(module, "observer_enabled"):
            yield name, module


def _array(tensor: Any) -> Array:
    array: Array = tensor.detach().cpu().numpy().copy()
    return array.reshape(-1)


def evaluated(program: Program, entry: TrainableModel, batch: int = 0) -> Array:
    """The first output of a program for a batch, by the evaluator in float32."""
    from coreml_assay.mil.evaluator import Evaluator

    evaluator = Evaluator(program)
    values = [x.numpy() for x in entry.batches()[batch]]
    results = evaluator.predict(dict(zip(evaluator.inputs, values, strict=True)))
    output: Array = np.asarray(results[evaluator.outputs[0]])
    return output
