"""Benchmarks in asv's shape: one thread, CPU time, the reference beside coremltools."""

import logging
import os
import warnings

# Before any benchmark file imports numpy or torch, which read these once.
for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ["TQDM_DISABLE"] = "1"
logging.basicConfig(level=logging.ERROR)  # coremltools logs part of its warnings at the root
warnings.filterwarnings("ignore", module="coremltools")
