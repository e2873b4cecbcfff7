"""The evaluator of ML programs beside torch eager and ONNX Runtime, at one thread."""

import io
import warnings

import numpy as np
import torch
from torch import nn

from coreml_assay.mil.evaluator import Evaluator
from coreml_assay.mil.program import load_program


def cnn():
    layers, channels = [], 3
    for width in (32, 64, 64, 128):
        layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        channels = width
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 16, 10)), (1, 3, 64, 64)


def transformer():
    layer = nn.TransformerEncoderLayer(128, 4, 256, batch_first=True, activation="gelu")
    return nn.TransformerEncoder(layer, 3, enable_nested_tensor=False), (1, 64, 128)


NETWORKS = {"cnn": cnn, "transformer": transformer}


class Network:
    """One prediction of a float32 network with random weights."""

    params = (["cnn", "transformer"], ["evaluator", "torch", "onnxruntime"])
    param_names = ("network", "runs")
    rounds = 1
    repeat = (3, 10, 1.0)

    def setup(self, network, runs):
        torch.manual_seed(0)
        torch.set_num_threads(1)
        # The fused operations of the fast path cannot be converted.
        torch.backends.mha.set_fastpath_enabled(False)
        module, shape = NETWORKS[network]()
        self.module = module.eval()
        self.x = torch.randn(shape)
        self.run = getattr(self, f"_{runs}")()

    def time_predict(self, network, runs):
        self.run()

    def _torch(self):
        def run():
            with torch.inference_mode():
                return self.module(self.x)

        return run

    def _evaluator(self):
        import coremltools as ct

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            traced = torch.jit.trace(self.module, self.x, check_trace=False)
            model = ct.convert(
                traced,
                inputs=[ct.TensorType(name="x", shape=self.x.shape, dtype=np.float32)],
                compute_precision=ct.precision.FLOAT32,
                minimum_deployment_target=ct.target.iOS17,
                skip_model_load=True,
            )
        evaluator, inputs = Evaluator(load_program(model)), {"x": self.x.numpy()}
        return lambda: evaluator.predict(inputs)

    def _onnxruntime(self):
        import onnxruntime

        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.onnx.export(self.module, (self.x,), content, input_names=["x"], dynamo=False)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(content.getvalue(), options)
        inputs = {"x": self.x.numpy()}
        return lambda: session.run(None, inputs)
