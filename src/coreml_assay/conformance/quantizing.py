"""What checks of the Core ML face share: quantize a sample program, look at its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from coreml_assay.conformance.subject import Subject, literal
from coreml_assay.mil.program import Model, load_program
from coreml_assay.mil.samples import Weight, build_model
from coreml_assay.mil.stored import StoredWeight, stored_weights

Options = Mapping[str, Any]  # arguments of an OpLinearQuantizerConfig


@attrs.frozen
class Configuration:
    """A configuration, before an implementation's own classes are made of it.

    Attributes:
        everything: options of the global configuration, or None.
        op_types: op type to options, or None.
        op_names: name to options, or None.
    """

    everything: Options | None = None
    op_types: Mapping[str, Options | None] = attrs.field(factory=dict)
    op_names: Mapping[str, Options | None] = attrs.field(factory=dict)

    def build(self, coreml: Any) -> Any:
        """The same as an OptimizationConfig of a namespace like coremltools.optimize.coreml."""

        def one(options: Options | None) -> Any:
            return None if options is None else coreml.OpLinearQuantizerConfig(**options)

        return coreml.OptimizationConfig(
            global_config=one(self.everything),
            op_type_configs={name: one(options) for name, options in self.op_types.items()},
            op_name_configs={name: one(options) for name, options in self.op_names.items()},
        )


def everywhere(**options: Any) -> Configuration:
    """A configuration for all weights, however small."""
    return Configuration({"weight_threshold": 0, **options})


def quantize_model(
    subject: Subject, model: Model, configuration: Configuration, **arguments: Any
) -> Model:
    """Run the implementation's linear_quantize_weights."""
    with subject.recording():
        config = configuration.build(subject.coreml)
        return subject.coreml.linear_quantize_weights(model, config, **arguments)


def quantize_weights(
    subject: Subject, weights: Sequence[Weight], target: str, configuration: Configuration
) -> dict[str, StoredWeight]:
    """Quantize a sample program and say how its weights are stored."""
    subject.use_snippet(_sample_source(weights, target, configuration))
    return read(subject, quantize_model(subject, build_model(weights, target), configuration))


def read(subject: Subject, model: Model) -> dict[str, StoredWeight]:
    """The weights of a model that the implementation returned, by name."""
    with subject.recording():
        return stored_weights(load_program(model))


def replay_error(
    subject: Subject, weights: Sequence[Weight], target: str, configuration: Configuration
) -> Any:
    """An action that quantizes a sample program, for `Subject.expect_raises`."""
    subject.use_snippet(_sample_source(weights, target, configuration))
    model = build_model(weights, target)
    return lambda: subject.coreml.linear_quantize_weights(
        model, configuration.build(subject.coreml)
    )


def _sample_source(weights: Sequence[Weight], target: str, configuration: Configuration) -> str:
    made = ",\n".join(
        f"    Weight({w.name!r}, {literal(w.value)}, {w.consumer!r})" for w in weights
    )
    return (
        "from coreml_assay.conformance.quantizing import Configuration\n"
        "from coreml_assay.mil.samples import Weight, build_model\n"
        "from coreml_assay.mil.program import load_program\n"
        "from coreml_assay.mil.stored import stored_weights\n"
        f"model = build_model([\n{made},\n], {target!r})\n"
        f"config = {configuration!r}.build(cto.coreml)\n"
        "quantized = cto.coreml.linear_quantize_weights(model, config)\n"
        "print(stored_weights(load_program(quantized)))\n"
    )
