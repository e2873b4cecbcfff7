"""Core ML through coremltools: on this Mac, or on an iPhone or iPad connected to it.

Times are Core ML's own, of the prediction alone. coremltools' benchmarker is not used: it warms up
once, keeps no percentiles, refuses images, and its times of single operations are estimates.
"""

from __future__ import annotations

import asyncio
import warnings
import weakref
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any, Literal

import coremltools as ct
import numpy as np
import numpy.typing as npt
from coremltools.models import model as model_module

from coreml_assay.latency import machine
from coreml_assay.latency.backends import Arrays, Loaded, UnavailableError
from coreml_assay.latency.session import SessionError
from coreml_assay.latency_records import (
    DEVICE_UNITS,
    Device,
    PlacedOperation,
    Placement,
    Processor,
    Units,
)
from coreml_assay.mil.program import open_package

Kind = Literal["mac", "iphone", "ipad"]

_NEEDS = (
    "collect predicts through Core ML, which needs a Mac with macOS 13 or later and coremltools "
    "9.0; --backend evaluator stands in on any CPU, under its own name"
)


class CoreMLBackend:
    """Predicts through Core ML.

    Args:
        kind: what predicts: this Mac, or the one connected device of that kind.
        team: the development team that signs coremltools' app for a connected device.

    Raises:
        UnavailableError: this is no Mac, coremltools is too old, or there is no such device.
    """

    name: Literal["coreml", "evaluator"] = "coreml"
    compute_units: tuple[Units, ...] = DEVICE_UNITS

    def __init__(self, kind: Kind = "mac", team: str = "") -> None:
        # What coremltools binds Core ML to; it comes with coremltools' packages for macOS alone.
        if model_module._MLModelProxy is None:
            raise UnavailableError(_NEEDS)
        try:
            from coremltools.models.ml_program.experimental import async_wrapper
        except ImportError as error:
            raise UnavailableError(_NEEDS) from error
        self._wrapper = async_wrapper.MLModelAsyncWrapper
        self._kind: Kind = kind
        # coremltools' service for a connected device stays with the loop that it began on.
        self._loop = asyncio.new_event_loop()
        weakref.finalize(self, self._loop.close)
        self._remote = None if kind == "mac" else self._run(_connected(kind, team))

    def load(self, package: Path, compute_units: Units) -> Loaded:
        """Load a package.

        Raises:
            SessionError: Core ML does not load it.
        """
        return _CoreMLModel(self._wrapper, package, compute_units, self._remote, self._run)

    def device(self, before: Device | None) -> Device:
        """What predicts, and its thermal state now."""
        xcode = machine.xcode_version()
        if self._remote is not None:
            return Device(
                kind=self._kind,
                name=self._remote.name,
                os_version=self._remote.os_version,
                os_build=self._remote.os_build_number,
                xcode=xcode,
                processors=(),
                thermal_before="unknown",
                thermal_after="unknown",
            )
        thermal = machine.mac_thermal()
        found = {_processor(each) for each in ct.models.MLModel.get_available_compute_devices()}
        return Device(
            kind="mac",
            name=machine.mac_model(),
            os_version=machine.mac_version(),
            os_build=machine.mac_build(),
            xcode=xcode,
            processors=tuple(sorted(found)),
            thermal_before=thermal if before is None else before.thermal_before,
            thermal_after=thermal,
        )

    def _run(self, waited_for: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(waited_for)


async def _connected(kind: Kind, team: str) -> Any:
    """The one connected device of a kind, with coremltools' app running on it."""
    from coremltools.models.ml_program.experimental import remote_device

    try:
        found = remote_device.Device.get_connected_devices(remote_device.DeviceType(kind))
        if len(found) != 1:
            raise UnavailableError(f"{len(found)} devices of kind {kind} are connected, not one")
        credentials = remote_device.AppSigningCredentials(development_team=team)
        return await found[0].prepare_for_model_debugging(credentials=credentials)
    except UnavailableError:
        raise
    except Exception as error:  # of Xcode's tools, of every kind
        raise UnavailableError(f"the {kind} cannot be used: {_one_line(error)}") from error


class _CoreMLModel:
    """A package that Core ML has loaded."""

    def __init__(
        self, wrapper: Any, package: Path, compute_units: Units, remote: Any, run: Any
    ) -> None:
        self._what = f"{package.parent.name}, {compute_units}"
        self._units: Units = compute_units
        self._run = run
        model = open_package(package)
        self._images = {
            each.name: each.type.imageType
            for each in model.get_spec().description.input
            if each.type.WhichOneof("Type") == "imageType"
        }
        if self._images and remote is not None:
            raise SessionError(f"{self._what}: coremltools sends no images to a connected device")
        self._model = wrapper.from_spec_or_path(
            spec_or_path=str(package),
            weights_dir=model.weights_dir or "",
            compute_units=ct.ComputeUnit[compute_units],
            device=remote,
        )
        # Why Core ML refuses a model is only in a warning.
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            self._call(self._model.load(), lambda: [str(each.message) for each in caught])
        self.load_ns = self._duration(self._model.load_duration_in_nano_seconds)

    def predict(self, inputs: Arrays) -> tuple[Arrays, int]:
        # coremltools changes the dictionary that it is given.
        given = {name: self._given(name, value) for name, value in inputs.items()}
        found = self._call(self._model.predict(given))
        outputs = {name: np.asarray(value) for name, value in found.items()}
        return outputs, self._duration(self._model.last_predict_duration_in_nano_seconds)

    def placement(self) -> Placement:
        # coremltools loads the plan for all compute units unless it is told; its wrapper tells.
        plan = self._call(self._model.retrieve_compute_plan())
        return Placement(compute_units=self._units, operations=tuple(_placed(plan)))

    def close(self) -> None:
        self._call(self._model.unload())

    def _given(self, name: str, value: npt.NDArray[Any]) -> Any:
        image = self._images.get(name)
        return value if image is None else _as_image(value, image)

    def _call(self, waited_for: Coroutine[Any, Any, Any], more: Any = list) -> Any:
        try:
            return self._run(waited_for)
        except Exception as error:  # Core ML's reach Python as any of several
            causes = " ".join([_one_line(error), *more()])
            raise SessionError(f"{self._what}: {causes}") from error

    def _duration(self, nanoseconds: int | None) -> int:
        if nanoseconds is None or nanoseconds <= 0:
            raise SessionError(f"{self._what}: Core ML tells a duration of {nanoseconds} ns")
        return int(nanoseconds)


def _placed(plan: Any) -> Iterator[PlacedOperation]:
    """The operations of a plan that run somewhere; constants do not."""
    program = plan.model_structure.program
    pending = [] if program is None else [each.block for each in program.functions.values()]
    while pending:
        block = pending.pop(0)
        for operation in block.operations:
            pending.extend(operation.blocks)
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            cost = plan.get_estimated_cost_for_mlprogram_operation(operation)
            if usage is not None:
                yield PlacedOperation(
                    operator=operation.operator_name,
                    preferred=_processor(usage.preferred_compute_device),
                    cost=None if cost is None else min(float(cost.weight), 1.0),
                )


def _processor(device: Any) -> Processor:
    """The name of one of coremltools' compute devices.

    Raises:
        SessionError: it is of a kind that coremltools 9.0 does not have.
    """
    from coremltools.models import compute_device  # which coremltools 8.0 does not have

    names: dict[Any, Processor] = {
        compute_device.MLCPUComputeDevice: "cpu",
        compute_device.MLGPUComputeDevice: "gpu",
        compute_device.MLNeuralEngineComputeDevice: "neural engine",
    }
    for kind, name in names.items():
        if isinstance(device, kind):
            return name
    raise SessionError(f"a compute device of type {type(device).__name__} is not known")


def _as_image(value: npt.NDArray[Any], kind: Any) -> Any:
    """Pixels as the image that coremltools asks for.

    Args:
        value: 1 x channels x height x width, 0 to 255.
        kind: the specification's image type.

    Raises:
        SessionError: Pillow is not installed.
    """
    try:
        from PIL import Image
    except ImportError as error:
        raise SessionError("a model that takes images needs Pillow: pip install pillow") from error
    space = kind.ColorSpace.Name(kind.colorSpace)
    if space == "GRAYSCALE_FLOAT16":
        return Image.fromarray(value[0, 0].astype(np.float32))
    pixels = value[0].astype(np.uint8)
    if space == "GRAYSCALE":
        return Image.fromarray(pixels[0])
    # The program takes the channels in the order of its color space, an image has them as RGB.
    return Image.fromarray(np.moveaxis(pixels[::-1] if space == "BGR" else pixels, 0, -1).copy())


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
