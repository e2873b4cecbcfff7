"""coremltools' own classes with only what lies below them replaced.

On a Mac the module ``coremltools.libcoremlpython`` binds Core ML, and ``devicectl`` talks to a
connected phone. Here the evaluator answers in the place of both; everything in between is
coremltools' own code.
"""

from __future__ import annotations

import json
import shlex
import shutil
import subprocess
import sys
import tempfile
import types
from contextlib import contextmanager
from pathlib import Path

import coremltools as ct
from coremltools.models import compute_device, compute_plan
from coremltools.models import model as model_module
from coremltools.models import utils as model_utils
from coremltools.models.ml_program.experimental import remote_device
from coremltools.models.ml_program.experimental.model_structure_path import (
    map_model_structure_to_path,
)

from coreml_assay.mil.precision import Precision
from coreml_assay.mil.prediction import _Proxy

PREDICTION_NS = 1_234_567
LOAD_NS = 7_654_321
BUNDLE = "com.example.runner"


class CPU: ...


class GPU: ...


class NeuralEngine:
    def get_total_core_count(self):
        return 16


class PlanProxy:
    """A plan that puts convolutions and products on the Neural Engine where that is allowed."""

    def __init__(self, structure=None, units=None):
        self._structure, self._units = structure, units

    @property
    def model_structure(self):
        return self._structure

    def get_compute_device_usage_for_mlprogram_operation(self, operation):
        if operation.operator_name == "const":
            return None
        there = self._units != "CPU_ONLY" and "relu" not in operation.operator_name
        preferred = NEURAL_ENGINE() if there else CPU_DEVICE()
        return compute_plan.MLComputePlanDeviceUsage(preferred, [CPU_DEVICE(), preferred])

    def get_estimated_cost_for_mlprogram_operation(self, operation):
        if operation.operator_name == "const":
            return None
        return compute_plan.MLComputePlanCost(weight=1.0 / 64)


def CPU_DEVICE():  # noqa: N802
    return compute_device.MLCPUComputeDevice(CPU())


def NEURAL_ENGINE():  # noqa: N802
    return compute_device.MLNeuralEngineComputeDevice(NeuralEngine())


class ModelProxy(_Proxy):
    """Core ML's binding, by the evaluator; remembers what it was asked for."""

    _precision = Precision.FLOAT16
    asked = None

    def __init__(self, path, units, function, hints, asset):
        self.asked.append(("model", units))
        super().__init__(path, units, function, hints, asset)
        self._path = path
        self._predictions = 0
        self._known = {}

    def predict(self, inputs, state):
        self._predictions += 1
        key = b"".join(value.tobytes() for value in inputs.values())
        if key not in self._known:
            self._known[key] = super().predict(inputs, state)
        return self._known[key]

    def get_load_duration_in_nano_seconds(self):
        return LOAD_NS

    def get_last_predict_duration_in_nano_seconds(self):
        return PREDICTION_NS + self._predictions

    def get_compiled_model_path(self):
        return self._path

    @classmethod
    def compileModel(cls, path):  # noqa: N802
        compiled = Path(tempfile.mkdtemp()) / "package.mlmodelc"
        shutil.copytree(path, compiled)
        return str(compiled)

    @classmethod
    def get_compute_plan(cls, path, units):
        cls.asked.append(("plan", units))
        return compute_plan.MLComputePlan(PlanProxy(cls.get_model_structure(path), units))

    @classmethod
    def get_model_structure(cls, path):
        program = model_at(path).get_spec().mlProgram
        return compute_plan.MLModelStructure(
            neuralnetwork=None,
            pipeline=None,
            program=compute_plan.MLModelStructureProgram(
                {name: structure(each) for name, each in program.functions.items()}
            ),
        )

    @classmethod
    def get_available_compute_devices(cls):
        gpu = compute_device.MLGPUComputeDevice(GPU())
        return [CPU_DEVICE(), gpu, gpu, NEURAL_ENGINE()]


def model_at(path):
    """A package that was moved aside under another ending."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "model.mlpackage"
        shutil.copytree(path, package)
        return ct.models.MLModel(str(package), skip_model_load=True)


def structure(function):
    (block,) = function.block_specializations.values()
    operations = [
        compute_plan.MLModelStructureProgramOperation(
            inputs={},
            operator_name=each.type,
            outputs=[
                compute_plan.MLModelStructureProgramNamedValueType(
                    output.name, compute_plan.MLModelStructureProgramValueType()
                )
                for output in each.outputs
            ],
            blocks=[],
            __proxy__=None,
        )
        for each in block.operations
    ]
    inner = compute_plan.MLModelStructureProgramBlock([], operations, list(block.outputs))
    return compute_plan.MLModelStructureProgramFunction([], inner)


class Phone:
    """What is at the other end of devicectl: a file system, and coremltools' app on it."""

    def __init__(self, folder):
        self._folder = folder
        self._models = {}
        self.methods = []

    def run(self, command):
        words = shlex.split(command)
        if words == ["xcrun", "devicectl", "list", "devices"]:
            return {"result": {"devices": [DEVICE, {**DEVICE, "identifier": ""}]}}
        options = dict(zip(words[4::2], words[5::2], strict=False))
        if words[:4] == ["devicectl", "device", "copy", "to"]:
            return self._sent(Path(options["--source"]), command)
        assert words[:4] == ["devicectl", "device", "copy", "from"], command
        return self._fetched(command)

    def _sent(self, source, command):
        target = self._folder / command.rsplit("--destination ", 1)[1]
        target.parent.mkdir(parents=True, exist_ok=True)
        (shutil.copytree if source.is_dir() else shutil.copyfile)(source, target)
        if target.name == "message.json":
            self._answer(json.loads(target.read_text()))
        return {"result": {"source": str(source), "destination": str(target)}}

    def _fetched(self, command):
        source = command.split("--source ", 1)[1].split()[0]
        target = command.rsplit("--destination ", 1)[1]
        shutil.copyfile(self._folder / source, target)
        return {"result": {"source": source, "destination": target}}

    def _answer(self, message):
        name, params = message["method"].removeprefix("MLModelService."), message["params"]
        self.methods.append((name, params.get("computeUnits")))
        root = self._folder / "Documents/modelrunnerd"
        resource = root / "requests/resources" / message["id"] / message.get("resource", "")
        folder = root / "responses" / message["id"]
        folder.mkdir(parents=True)
        result = getattr(self, f"_{name.lower()}")(params, resource, folder)
        answer = {"id": message["id"], "result": {"modelID": params["modelID"], **result}}
        if (folder / "outputs.bin").exists():
            answer["resource"] = "outputs.bin"
        (folder / "message.json").write_text(json.dumps(answer))

    def _load(self, params, resource, folder):
        units = params["computeUnits"]
        path = self._folder / "models" / params["modelID"] / "model.mlpackage"
        shutil.copytree(resource, path)
        self._models[params["modelID"]] = ModelProxy(str(path), units, "", {}, None), path, units
        return {"duration": LOAD_NS}

    def _prediction(self, params, resource, folder):
        proxy, *_ = self._models[params["modelID"]]
        descriptor = remote_device._TensorDescriptor
        with resource.open("rb") as file:
            inputs = {
                name: descriptor.from_dict(each).to_array(file)
                for name, each in params["inputs"].items()
            }
        with (folder / "outputs.bin").open("wb") as file:
            outputs = {
                name: descriptor.from_array(value, file).as_dict()
                for name, value in proxy.predict(inputs, None).items()
            }
        return {
            "outputs": outputs,
            "duration": proxy.get_last_predict_duration_in_nano_seconds(),
        }

    def _computeplan(self, params, resource, folder):
        _, path, units = self._models[params["modelID"]]
        plan = ModelProxy.get_compute_plan(str(path), units)
        infos = []
        for operation, place in map_model_structure_to_path(plan.model_structure, []):
            usage = plan.get_compute_device_usage_for_mlprogram_operation(operation)
            if usage is None:
                continue
            on_cpu = isinstance(usage.preferred_compute_device, compute_device.MLCPUComputeDevice)
            preferred = {"cpu": {}} if on_cpu else {"neuralEngine": {"totalCoreCount": 16}}
            infos.append(
                {
                    "deviceUsage": {"preferred": preferred, "supported": [{"cpu": {}}, preferred]},
                    "estimatedCost": 1.0 / 64,
                    "path": place.to_dict(),
                }
            )
        return {"infos": infos}

    def _unload(self, params, resource, folder):
        del self._models[params["modelID"]]
        return {}


DEVICE = {
    "identifier": "ID-1",
    "deviceProperties": {
        "name": "Test phone",
        "osVersionNumber": "18.1",
        "osBuildUpdate": "22B1",
        "developerModeStatus": "enabled",
    },
    "hardwareProperties": {"deviceType": "iPhone", "udid": "UDID-1"},
    "connectionProperties": {"tunnelState": "connected"},
}

_COMMANDS = {
    "sysctl": "echo Test9,9",
    "sw_vers": 'if [ "$1" = -productVersion ]; then echo 15.1; else echo 24B83; fi',
    "xcodebuild": "echo Xcode 16.1; echo Build version 16B40",
    "notifyutil": 'echo "$2 1"',
}


@contextmanager
def on_a_mac(monkeypatch, folder):
    """A block in which coremltools finds the native module, and Python the Mac's commands."""
    native = types.ModuleType("coremltools.libcoremlpython")
    for name, value in {
        "_MLModelProxy": ModelProxy,
        "_MLComputePlanProxy": PlanProxy,
        "_MLCPUComputeDeviceProxy": CPU,
        "_MLGPUComputeDeviceProxy": GPU,
        "_MLNeuralEngineComputeDeviceProxy": NeuralEngine,
    }.items():
        setattr(native, name, value)
        for module in (model_module, compute_plan, compute_device):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, value)
    ModelProxy.asked = []
    commands = folder / "bin"
    commands.mkdir()
    for name, line in _COMMANDS.items():
        (commands / name).write_text(f"#!/bin/sh\n{line}\n")
        (commands / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{commands}:/usr/bin:/bin")
    monkeypatch.setattr(model_utils, "_macos_version", lambda: (15, 1))
    # Its remote classes exist only where the native module did when it was imported.
    remote = "coremltools.models.ml_program.experimental.compute_plan_utils"
    before = sys.modules.pop(remote, None)
    monkeypatch.setitem(sys.modules, "coremltools.libcoremlpython", native)
    try:
        yield
    finally:
        sys.modules.pop(remote, None)
        if before is not None:
            sys.modules[remote] = before


@contextmanager
def with_a_phone(monkeypatch, folder):
    """The same, with a phone connected; what is left out is building and starting the app."""
    phone = Phone(folder / "phone")
    sleeping = subprocess.Popen(["sleep", "600"])

    def launched(device, build_directory, working_directory, credentials, clean):
        installed = remote_device._AppInstallationInfo(BUNDLE, "UUID")
        working_directory.mkdir(parents=True, exist_ok=True)
        return remote_device._AppSession(device, sleeping, installed, working_directory)

    monkeypatch.setattr(
        remote_device._DeviceCtl, "_run_command", staticmethod(lambda command: phone.run(command))
    )
    monkeypatch.setattr(remote_device.Device, "_build_and_launch_model_runner_app", launched)
    try:
        with on_a_mac(monkeypatch, folder):
            yield phone
    finally:
        sleeping.terminate()
        sleeping.wait()
