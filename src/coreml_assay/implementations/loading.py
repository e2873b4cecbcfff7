"""Finding implementations: by entry point, in the catalogue, by object or by program."""

from __future__ import annotations

import difflib
import importlib
import re
from importlib.metadata import EntryPoint, entry_points

from coreml_assay.implementations.case_folders import CommandError
from coreml_assay.implementations.command import PREFIX, Command, Options
from coreml_assay.implementations.environments import OverlayError, catalogue, enter
from coreml_assay.implementations.protocol import Implementation, faces

GROUP = "coreml_assay.implementations"
_OBJECT = re.compile(r"[\w.]+:[\w.]+")


class ImplementationError(ValueError):
    """An implementation that cannot be found, loaded or used; the message is one line."""


def available() -> dict[str, EntryPoint]:
    """The installed implementations by name."""
    return {entry.name: entry for entry in sorted(entry_points(group=GROUP), key=lambda e: e.name)}


def load_implementation(name: str) -> Implementation:
    """Load an implementation.

    Args:
        name: the name of an installed one or of one in the catalogue; ``module:object``, where a
            class is called without arguments; or ``command:`` and a program with its arguments,
            as a shell splits them.

    Raises:
        ImplementationError: it does not exist, is not installed, does not import, does not
            describe itself, or has no face.
    """
    if name.startswith(PREFIX):
        try:
            return Command(name.removeprefix(PREFIX), Options.from_environment())
        except CommandError as error:
            raise ImplementationError(f"{name}: {error}") from error
    installed = available()
    if name in installed:
        entry = installed[name]
    elif name in catalogue():
        entry = _from_overlay(name)
    elif _OBJECT.fullmatch(name):
        entry = EntryPoint(name=name, value=name, group=GROUP)
    else:
        near = difflib.get_close_matches(name, [*installed, *catalogue()], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ImplementationError(
            f"no implementation {name!r}{hint}; installed are {', '.join(installed)}, more are "
            "listed by `coreml-assay implementations`, and module:object or command:PROGRAM "
            "names any other"
        )
    try:
        importlib.invalidate_caches()
        found = entry.load()
        implementation = found() if isinstance(found, type) else found
    except Exception as error:
        cause = " ".join(f"{type(error).__name__}: {error}".split())
        raise ImplementationError(f"{name}: cannot be loaded: {cause}") from error
    if not isinstance(implementation, Implementation):
        raise ImplementationError(f"{name}: it needs the attributes name and version")
    if not faces(implementation):
        raise ImplementationError(
            f"{name}: it needs a method quantize_weight(weight, spec), or an attribute optimize "
            "shaped like coremltools.optimize (with coreml, torch, or both)"
        )
    return implementation


def _from_overlay(name: str) -> EntryPoint:
    entry = catalogue()[name]
    try:
        enter(entry)
    except OverlayError as error:
        raise ImplementationError(str(error)) from error
    return EntryPoint(name=name, value=entry.adapter, group=GROUP)
