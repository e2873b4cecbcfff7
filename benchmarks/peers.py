"""torchao, where it is installed: its rounding, in the form of ours."""

import importlib.util

INSTALLED = importlib.util.find_spec("torchao") is not None


def torchao_rounding(weight, spec):
    """A call that chooses parameters and rounds with torchao's primitives.

    Its symmetric grids use one code more than ours, so the codes are not the same; the work is.
    """
    if not INSTALLED:
        raise NotImplementedError("torchao is not installed")
    import torch
    from torchao.quantization import quant_primitives as primitives

    tensor = torch.from_numpy(weight)
    grid = spec.grid
    mapping = primitives.MappingType[("ASYMMETRIC", "SYMMETRIC")[grid.symmetric]]
    block = [b or n for b, n in zip(spec.block_shape, weight.shape, strict=True)]
    dtype = torch.int8 if grid.signed else torch.uint8
    low = -(2 ** (grid.bits - 1)) if grid.signed else 0
    limits = (low, low + 2**grid.bits - 1)

    def call():
        scale, zero_point = primitives.choose_qparams_affine(
            tensor, mapping, block, dtype, *limits, zero_point_dtype=dtype
        )
        return primitives.quantize_affine(tensor, block, scale, zero_point, dtype, *limits), scale

    return call
