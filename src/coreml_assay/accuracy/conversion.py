"""PyTorch networks as Core ML models."""

from __future__ import annotations

import contextlib
import io
import warnings
from typing import Any

import coremltools as ct
import numpy as np

from coreml_assay.mil.program import Model


def convert(
    network: Any, shape: tuple[int, ...], name: str, dtype: type[np.generic] = np.float32
) -> Model:
    """A network with one input of fixed shape, as a float16 ML program for iOS16."""
    import torch

    with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
        warnings.simplefilter("ignore")  # tracing and conversion warn about versions
        example = torch.from_numpy(np.zeros(shape, dtype))
        traced = torch.jit.trace(network, example, check_trace=False)
        return ct.convert(
            traced,
            inputs=[ct.TensorType(name=name, shape=shape, dtype=dtype)],
            minimum_deployment_target=ct.target.iOS16,
            skip_model_load=True,
        )
