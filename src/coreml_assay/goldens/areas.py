"""The areas that have golden files: what their cases are."""

from __future__ import annotations

import msgspec

from coreml_assay.goldens.activations import ActivationCases
from coreml_assay.goldens.gptq import GPTQCases
from coreml_assay.goldens.linear_quantizer import LinearQuantizerCases
from coreml_assay.goldens.weights import WeightCases

CASES: dict[str, type[msgspec.Struct]] = {
    "weights": WeightCases,
    "activations": ActivationCases,
    "linear-quantizer": LinearQuantizerCases,
    "gptq": GPTQCases,
}
"""Area -> what its file of cases holds; each field is a tuple of cases of one kind."""
