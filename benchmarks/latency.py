"""Latency of predictions through Core ML: measured here on a Mac, filed from elsewhere.

`coreml-assay latency ingest --asv asv.conf.json` files sessions of any device under these names.
Off a Mac every case is skipped; the evaluator's own are filed only.
"""

import tempfile
from pathlib import Path

from coreml_assay.accuracy.models import SHIPPED
from coreml_assay.latency.backends import UnavailableError
from coreml_assay.latency.collect import collect
from coreml_assay.latency.coreml import CoreMLBackend
from coreml_assay.latency.filing import PARAMETERS, VERSION, quantile_seconds
from coreml_assay.latency.prepare import Wanted, prepare


def nothing(done, total):
    pass


class Prediction:
    params = tuple(PARAMETERS.values())
    param_names = tuple(PARAMETERS)
    version = VERSION
    unit = "seconds"
    timeout = 600

    def setup(self, model, configuration, compute_units):
        if compute_units == "evaluator":
            raise NotImplementedError("filed only")
        try:
            backend = CoreMLBackend()
        except UnavailableError as error:
            raise NotImplementedError(str(error)) from error
        backend.compute_units = (compute_units,)
        package = next(each for each in SHIPPED if model == f"{each.name} {each.version}").find()
        with tempfile.TemporaryDirectory() as folder:
            prepared = Path(folder) / "prepared"
            prepare(Wanted({model: package}, (configuration,), seed=0), prepared, nothing)
            session = collect(prepared, Path(folder) / "collected", backend, nothing)
        (self.run,) = session.runs

    def track_p50(self, *_):
        return quantile_seconds(self.run, "p50")

    def track_p90(self, *_):
        return quantile_seconds(self.run, "p90")

    def track_p99(self, *_):
        return quantile_seconds(self.run, "p99")

    def track_minimum(self, *_):
        return quantile_seconds(self.run, "minimum")
