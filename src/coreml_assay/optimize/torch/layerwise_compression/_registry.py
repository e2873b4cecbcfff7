"""Classes by name, so that a configuration can name one, and users can add their own."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

Registered = TypeVar("Registered", bound=type[Any])


class Registry:
    """Base of classes whose subclasses are found by name; each root has names of its own."""

    __slots__ = ()

    _registered: ClassVar[dict[str, type[Any]]]

    @classmethod
    def register(cls, name: str) -> Callable[[Registered], Registered]:
        """A decorator that makes a class known under a name; a later one replaces an earlier."""

        def decorate(registered: Registered) -> Registered:
            cls._registered[name] = registered
            return registered

        return decorate

    @classmethod
    def get_class(cls, name: str) -> Any:
        """The class of a name.

        Raises:
            NotImplementedError: there is none.
        """
        if name not in cls._registered:
            known = ", ".join(map(repr, cls._registered))
            near = difflib.get_close_matches(str(name), cls._registered, n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            raise NotImplementedError(f"no {cls.__name__} named {name!r}{hint}; known are {known}")
        return cls._registered[name]
