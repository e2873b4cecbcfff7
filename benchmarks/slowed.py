"""Two implementations to time against each other: the reference's rounding, and it slowed down."""

from time import process_time

from coreml_assay.numerics import round_to_nearest

SHARE = 0.15


class AsItIs:
    """The same code on both sides; numerics alone is imported, so a process starts quickly."""

    name = "as it is"
    version = "1"

    def quantize_weight(self, weight, spec):
        return round_to_nearest(weight, spec.grid, spec.block_shape)


class Slowed(AsItIs):
    """Takes 15 % more CPU time for each call, whatever the call takes."""

    def quantize_weight(self, weight, spec):
        start = process_time()
        result = super().quantize_weight(weight, spec)
        end = process_time() + SHARE * (process_time() - start)
        while process_time() < end:
            pass
        return result
