"""One side of a comparison: a process that answers how long a workload took.

Run as a script, with the ``src`` folder of any revision of the package first on PYTHONPATH, so it
asks nothing of coreml_assay but what every revision has. Requests and answers are lines of JSON on
standard input and output; at the end of the input it ends.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, NamedTuple


class Job(NamedTuple):
    """A workload made ready: a call to time, and what its result is worth, smaller being better."""

    call: Callable[[], object]
    metrics: dict[str, float]


class Unsupported(Exception):  # noqa: N818 - not an error: an answer
    """The implementation does not offer what a workload takes."""


# Channels are axis 0 of a weight; a block size of 0 is the whole axis.
_PER_CHANNEL = (1, 0)
_PER_BLOCK = (1, 32)


def _rounding(
    dtype: str, bits: int, symmetric: bool, block_shape: tuple[int, int]
) -> Callable[[Any], Job]:
    """A weight of 1024 x 4096 through the tensor face."""

    def ready(implementation: Any) -> Job:
        import numpy as np

        from coreml_assay.implementations import WeightSpec
        from coreml_assay.numerics import Grid

        if not hasattr(implementation, "quantize_weight"):
            raise Unsupported("no tensor face")
        weight = np.random.default_rng(0).standard_normal((1024, 4096), np.float32).astype(dtype)
        spec = WeightSpec(Grid(bits, signed=True, symmetric=symmetric), block_shape)
        codes, scale, zero_point = implementation.quantize_weight(weight, spec)
        parts = [np.asarray(each) for each in (codes, scale, zero_point) if each is not None]
        shifted = codes.astype(np.float64)
        if zero_point is not None:
            shifted -= _spread(np.asarray(zero_point, np.float64), weight.shape)
        error = weight - shifted * _spread(np.asarray(scale, np.float64), weight.shape)
        return Job(
            lambda: implementation.quantize_weight(weight, spec),
            {
                "bytes": sum(each.nbytes for each in parts),
                "RMS error": _rounded(float(np.sqrt(np.mean(np.square(error))))),
            },
        )

    return ready


def _rounded(error: float) -> float:
    """Without the last digits, which depend on the order that a processor sums in."""
    return float(f"{error:.9g}")


def _spread(parameter: Any, shape: tuple[int, ...]) -> Any:
    """A value for each block as one for each element."""
    for axis, length in enumerate(shape):
        parameter = parameter.repeat(length // parameter.shape[axis], axis)
    return parameter


def _whole_model(**options: Any) -> Callable[[Any], Job]:
    """linear_quantize_weights on a program of four linear layers of 512 x 512."""

    def ready(implementation: Any) -> Job:
        import numpy as np

        from coreml_assay.mil.samples import Weight, build_model

        face = _face(implementation, "coreml")
        rng = np.random.default_rng(0)
        model = build_model(
            [
                Weight(f"w{i}", rng.standard_normal((512, 512), np.float32), "linear")
                for i in range(4)
            ]
        )
        op_config = face.OpLinearQuantizerConfig(**options)
        config = face.OptimizationConfig(global_config=op_config)
        quantized = face.linear_quantize_weights(model, config)
        files = [path for path in Path(quantized.package_path).rglob("*") if path.is_file()]
        (function,) = quantized.get_spec().mlProgram.functions.values()
        (block,) = function.block_specializations.values()
        return Job(
            lambda: face.linear_quantize_weights(model, config),
            {
                "bytes of weights": sum(f.stat().st_size for f in files if f.suffix == ".bin"),
                "operations": len(block.operations),
            },
        )

    return ready


def _post_training(implementation: Any) -> Job:
    """PostTrainingQuantizer on a linear layer of 2048 x 2048, int4 in blocks of 32."""
    torch, quantization = _torch(implementation)
    model = torch.nn.Sequential(torch.nn.Linear(2048, 2048))
    config = quantization.PostTrainingQuantizerConfig.from_dict(
        {"global_config": {"weight_dtype": "int4", "granularity": "per_block", "block_size": 32}}
    )

    def call() -> Any:
        return quantization.PostTrainingQuantizer(model, config).compress()

    error = (call()[0].weight - model[0].weight).detach().double()
    return Job(call, {"RMS error": _rounded(float(error.square().mean().sqrt()))})


def _gptq(implementation: Any) -> Job:
    """LayerwiseCompressor on a linear layer of 512 x 512 and 8 samples of 256 inputs, 4 bits."""
    torch, _ = _torch(implementation)
    compression = _face(implementation, "torch").layerwise_compression
    model = torch.nn.Sequential(torch.nn.Linear(512, 512))
    samples = [torch.randn(256, 512) for _ in range(8)]
    config = compression.LayerwiseCompressorConfig.from_dict(
        {
            "global_config": {"algorithm": "gptq", "weight_dtype": "uint4", "block_size": 128},
            "calibration_nsamples": len(samples),
        }
    )

    def call() -> Any:
        return compression.LayerwiseCompressor(model, config).compress(samples, device="cpu")

    call()
    return Job(call, {})  # which way a tie goes moves its error either way


def _training(implementation: Any) -> Job:
    """One forward and backward pass of a small network under LinearQuantizer."""
    torch, quantization = _torch(implementation)
    network = torch.nn.Sequential(
        *(torch.nn.Conv2d(3, 32, 3), torch.nn.BatchNorm2d(32), torch.nn.ReLU()),
        *(torch.nn.Conv2d(32, 32, 3), torch.nn.ReLU(), torch.nn.Flatten()),
        torch.nn.Linear(32 * 20 * 20, 10),
    )
    batch = torch.randn(8, 3, 24, 24)
    config = quantization.LinearQuantizerConfig(
        global_config=quantization.ModuleLinearQuantizerConfig()
    )
    prepared = quantization.LinearQuantizer(network, config).prepare(example_inputs=batch)

    def call() -> Any:
        prepared.zero_grad()
        prepared(batch).square().mean().backward()

    call()
    return Job(call, {})


def _evaluator(implementation: Any) -> Job:
    """The evaluator on a program of four linear layers; it belongs to no implementation."""
    import numpy as np

    from coreml_assay.mil.evaluator import Evaluator
    from coreml_assay.mil.program import load_program
    from coreml_assay.mil.samples import Weight, build_model

    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 64, 3, 3), np.float32)
    model = build_model([Weight(f"w{i}", weight, "conv") for i in range(32)])
    evaluator = Evaluator(load_program(model))
    inputs: Any = {name: np.ones(each.shape, np.float32) for name, each in evaluator.inputs.items()}
    return Job(lambda: evaluator.predict(inputs), {})


def _face(implementation: Any, part: str) -> Any:
    try:
        return getattr(implementation.optimize, part)
    except (AttributeError, ImportError) as error:
        raise Unsupported(f"no {part} face: {error}") from error


def _torch(implementation: Any) -> tuple[Any, Any]:
    face = _face(implementation, "torch")
    torch = importlib.import_module("torch")
    torch.manual_seed(0)
    return torch, face.quantization


IMPLEMENTATION_WORKLOADS: dict[str, Callable[[Any], Job]] = {
    "round-int8-per-channel": _rounding("float32", 8, True, _PER_CHANNEL),
    "round-int4-block32": _rounding("float32", 4, True, _PER_BLOCK),
    "round-int4-affine-block32": _rounding("float32", 4, False, _PER_BLOCK),
    "round-float16-int8": _rounding("float16", 8, True, _PER_CHANNEL),
    "model-int8": _whole_model(),
    "model-int4-block32": _whole_model(dtype="int4", granularity="per_block", block_size=32),
    "post-training-quantizer": _post_training,
    "layerwise-compressor": _gptq,
    "linear-quantizer-training": _training,
}
"""What an implementation does."""

PACKAGE_WORKLOADS: dict[str, Callable[[Any], Job]] = {"evaluator": _evaluator}
"""What only a revision of this package differs in."""

WORKLOADS = {**IMPLEMENTATION_WORKLOADS, **PACKAGE_WORKLOADS}


def measure(call: Callable[[], object], calls: int) -> tuple[float, float]:
    """CPU and wall seconds of a number of calls, the collector of garbage kept out."""
    gc.collect()
    gc.disable()
    try:
        wall, cpu = time.perf_counter(), time.process_time()
        for _ in range(calls):
            call()
        return time.process_time() - cpu, time.perf_counter() - wall
    finally:
        gc.enable()


class Worker:
    """Answers requests about one implementation."""

    def __init__(self, name: str) -> None:
        from coreml_assay.implementations import load_implementation

        self._implementation = load_implementation(name)
        self._jobs: dict[str, Job] = {}

    def facts(self) -> dict[str, Any]:
        """Who is measured, and on what."""
        import numpy as np

        import coreml_assay
        from coreml_assay.numerics import native

        return {
            "version": self._implementation.version,
            "package": str(Path(coreml_assay.__file__).parent),
            "kernels": native.active(),
            "numpy": np.__version__,
            "torch": _version("torch"),
            "coremltools": _version("coremltools"),
        }

    def ready(self, workload: str) -> dict[str, Any]:
        """Make a workload ready, called once to warm it up, and say how long a call takes."""
        job = WORKLOADS[workload](self._implementation)
        self._jobs[workload] = job
        gc.collect()
        gc.freeze()  # what is imported and made ready needs no looking through at each measurement
        cpu, _ = measure(job.call, 1)
        return {"seconds": cpu, "metrics": job.metrics}

    def time(self, workload: str, calls: int) -> dict[str, Any]:
        """Time a workload that is ready."""
        cpu, wall = measure(self._jobs[workload].call, calls)
        return {"cpu": cpu, "wall": wall}

    def drop(self, workload: str) -> dict[str, Any]:
        """Forget a workload, and free what it holds."""
        del self._jobs[workload]
        return {}


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _answer(worker: Worker, request: dict[str, Any]) -> dict[str, Any]:
    try:
        answer: dict[str, Any] = getattr(worker, request.pop("do"))(**request)
        return answer
    except Exception as error:  # whatever an implementation raises belongs in the record
        # Unsupported comes from here, or from the implementation with a class of that name.
        kind = "unsupported" if type(error).__name__ == "Unsupported" else "error"
        text = f"{type(error).__name__}: {error}" if kind == "error" else str(error)
        return {kind: " ".join(text.split())}


def main() -> None:
    """Answer requests until there are no more."""
    # What libraries print must not come between the answers.
    answers = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)
    warnings.simplefilter("ignore")
    try:
        worker = Worker(sys.argv[1])
        print(json.dumps(worker.facts()), file=answers)
    except Exception as error:
        print(json.dumps({"error": " ".join(str(error).split())}), file=answers)
        return
    for line in sys.stdin:
        print(json.dumps(_answer(worker, json.loads(line))), file=answers)


if __name__ == "__main__":
    # The script's own folder has modules that are not meant to be found by their bare names.
    sys.path.pop(0)
    main()
