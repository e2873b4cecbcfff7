"""The mutants by area of the suite; those of an area run in one process."""

from __future__ import annotations

from mutants import activations, gptq, linear_quantizer, torch_ptq, weights
from mutants.mutant import Mutant

AREAS: dict[str, list[type[Mutant]]] = {
    "weights": weights.MUTANTS,
    "activations": activations.MUTANTS,
    "torch-ptq": torch_ptq.MUTANTS,
    "gptq": gptq.MUTANTS,
    "linear-quantizer": linear_quantizer.MUTANTS,
}
