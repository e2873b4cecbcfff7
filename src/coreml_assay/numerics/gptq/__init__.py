"""GPTQ: rounding a layer's weights one column at a time, each error made good by the next.

`Hessian` gathers what calibration says about the layer's inputs; `quantize` rounds a weight under
it. `oracle` is the same in float64, written to be read. Needs PyTorch.

Source: Frantar et al., "GPTQ", arXiv 2210.17323; the lattice view of Chen et al., arXiv
2507.18553.
"""

from coreml_assay.numerics.gptq.algorithm import quantize
from coreml_assay.numerics.gptq.hessian import Hessian
from coreml_assay.numerics.gptq.spec import GPTQError, GPTQResult, GPTQSpec

__all__ = ["GPTQError", "GPTQResult", "GPTQSpec", "Hessian", "quantize"]
