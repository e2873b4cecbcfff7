"""Where cells are computed: processes or threads of this machine, a Dask or a Ray cluster.

All of it is joblib's; the cluster's own package is asked for only where it is used.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from typing import Any, TypeVar

import joblib

BACKENDS = ("loky", "threading", "dask", "ray")
_PACKAGES = {"dask": "distributed", "ray": "ray"}
_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class BackendError(RuntimeError):
    """A backend that cannot be used; the message is one line."""


def in_parallel(
    function: Callable[[_Task], _Result],
    tasks: Sequence[_Task],
    *,
    backend: str,
    jobs: int,
    scheduler: str | None,
) -> Iterator[_Result]:
    """Results of a function over tasks, as they come.

    Args:
        function: pickled by name, so of a module that workers have, too.
        tasks: its arguments.
        backend: one of `BACKENDS`.
        jobs: how many at a time; on a cluster that is there already, as many as it has workers.
        scheduler: a cluster's address; None has one started on this machine.

    Raises:
        BackendError: the backend's package is not installed, or the cluster does not answer.
    """
    with _configured(backend, jobs, scheduler) as at_a_time:
        delayed = [joblib.delayed(function)(task) for task in tasks]
        if backend != "ray":
            parallel = joblib.Parallel(return_as="generator_unordered", batch_size=1)
            with closing(parallel(delayed)) as results:
                yield from results
            return
        # Ray gives results of a call all at once, so there is a call for each handful.
        for start in range(0, len(delayed), at_a_time):
            yield from joblib.Parallel(batch_size=1)(delayed[start : start + at_a_time])


@contextmanager
def _configured(backend: str, jobs: int, scheduler: str | None) -> Iterator[int]:
    if scheduler is not None and backend not in _PACKAGES:
        raise BackendError(f"a scheduler is for a cluster, and {backend} has none: use dask or ray")
    with ExitStack() as stack:
        if backend == "dask":
            stack.enter_context(_dask_client(jobs, scheduler))
        elif backend == "ray":
            jobs = _start_ray(jobs, scheduler)
            stack.callback(_package("ray").shutdown)
        stack.enter_context(joblib.parallel_config(backend=backend, n_jobs=jobs))
        yield jobs


def _package(backend: str) -> Any:
    name = _PACKAGES[backend]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        extra = (
            "pip install 'coreml-assay[cluster]'" if backend == "dask" else f"pip install {name}"
        )
        raise BackendError(f"the backend {backend} needs {name}: {extra}") from error


def _dask_client(jobs: int, scheduler: str | None) -> Any:
    distributed = _package("dask")
    logging.getLogger("distributed").setLevel(logging.WARNING)
    try:
        if scheduler is not None:
            return distributed.Client(scheduler, timeout=10)
        return distributed.Client(
            n_workers=jobs, threads_per_worker=1, dashboard_address=":0", set_as_default=True
        )
    except (OSError, ValueError) as error:
        where = scheduler or "a cluster on this machine"
        raise BackendError(f"dask: {where} does not answer: {error}") from error


def _start_ray(jobs: int, scheduler: str | None) -> int:
    ray = _package("ray")
    options: dict[str, Any] = {"address": scheduler} if scheduler else {"num_cpus": jobs}
    try:
        quiet = {"log_to_driver": False, "logging_level": logging.ERROR}
        ray.init(include_dashboard=False, **quiet, **options)
    except (ConnectionError, OSError, ValueError) as error:
        where = scheduler or "a cluster on this machine"
        raise BackendError(f"ray: {where} does not answer: {error}") from error
    importlib.import_module("ray.util.joblib").register_ray()
    return int(ray.cluster_resources().get("CPU", jobs))
