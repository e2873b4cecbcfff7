"""Small things to time."""

from __future__ import annotations

import os
import sys

import numpy as np

from coreml_assay.implementations import Unsupported


class Copying:
    """Loads at once: nothing but numpy is imported."""

    name = "copying"
    version = "1"

    def quantize_weight(self, weight, spec):
        return weight.astype(np.int8), np.ones((1, 1), weight.dtype), None


class Wider(Copying):
    """The same in more bytes."""

    def quantize_weight(self, weight, spec):
        return weight.astype(np.int16), np.ones((1, 1), weight.dtype), None


class Talking(Copying):
    """Prints where answers go."""

    def quantize_weight(self, weight, spec):
        sys.stdout.write("not an answer\n")
        os.write(1, b"nor this\n")
        return super().quantize_weight(weight, spec)


class Declining(Copying):
    def quantize_weight(self, weight, spec):
        raise Unsupported("not these blocks")


class Failing(Copying):
    def quantize_weight(self, weight, spec):
        raise ValueError("it\nbroke")


class Ending(Copying):
    """Ends its process at 8 bits."""

    def quantize_weight(self, weight, spec):
        if spec.grid.bits == 8:
            os._exit(7)
        return super().quantize_weight(weight, spec)
