"""EventConfig: what an EventBase shall be like, said before there is one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from .._libevent import ffi
from .._library import supported_methods
from ..errors import check_flags, check_int, check_seconds
from ..flags import BaseFlag, Feature

_NO_LIMIT = -1


class EventConfig:
    """What an EventBase shall be like (``event_config_new``).

    Args:
        avoid: Names of methods not to use, such as ``["epoll"]``; see ``supported_methods()``.
        features: What the method must be able to do.
        flags: How the base shall work.
        max_dispatch_interval: After how many seconds of callbacks to look for events of higher priority. None: not.
        max_callbacks: After how many callbacks to look for events of higher priority, from 1. None: not.
        min_priority: From which priority on the two limits hold, from 0.
        num_cpus_hint: How many processors there are (``event_config_set_num_cpus_hint``). Only Windows uses it.

    Raises:
        TypeError: An argument is of a wrong type.
        ValueError: A method is unknown, or a number out of range.
    """

    __slots__ = ("avoided_methods", "features", "flags", "max_callbacks", "max_interval", "min_priority", "num_cpus_hint")

    def __init__(
        self,
        *,
        avoid: Iterable[str] = (),
        features: Feature = Feature(0),
        flags: BaseFlag = BaseFlag(0),
        max_dispatch_interval: float | None = None,
        max_callbacks: int | None = None,
        min_priority: int = 0,
        num_cpus_hint: int = 0,
    ) -> None:
        self.avoided_methods: frozenset[str] = frozenset()
        self.features = Feature(0)
        self.flags = BaseFlag(0)
        self.num_cpus_hint = check_int(num_cpus_hint, "num_cpus_hint", 0, 2**16)
        for method in (avoid,) if isinstance(avoid, str) else avoid:
            self.avoid_method(method)
        self.require_features(features)
        self.set_flag(flags)
        self.set_max_dispatch_interval(max_dispatch_interval, max_callbacks, min_priority)

    def avoid_method(self, method: str) -> None:
        """Don't use the method of this name (``event_config_avoid_method``).

        Raises:
            ValueError: This build of libevent has no such method.
        """
        if not isinstance(method, str):
            raise TypeError(f"method must be a str, not {type(method).__name__}")
        if method not in supported_methods():
            raise ValueError(f"method must be one of {', '.join(supported_methods())}, not {method!r}")
        self.avoided_methods |= {method}

    def require_features(self, features: Feature) -> None:
        """Only use a method that can do all of this (``event_config_require_features``)."""
        self.features = Feature(check_flags(features, Feature, _all(Feature), "features"))

    def set_flag(self, flags: BaseFlag) -> None:
        """Set flags, beside those already set (``event_config_set_flag``)."""
        self.flags |= BaseFlag(check_flags(flags, BaseFlag, _all(BaseFlag), "flags"))

    def set_max_dispatch_interval(
        self, seconds: float | None = None, max_callbacks: int | None = None, min_priority: int = 0
    ) -> None:
        """Look for events of higher priority now and then (``event_config_set_max_dispatch_interval``).

        Args:
            seconds: After how many seconds of callbacks. None: not.
            max_callbacks: After how many callbacks, from 1. None: not.
            min_priority: From which priority on, from 0.
        """
        self.max_interval = None if seconds is None else check_seconds(seconds, "max_dispatch_interval")
        self.max_callbacks = None if max_callbacks is None else check_int(max_callbacks, "max_callbacks", 1, 2**31 - 1)
        self.min_priority = check_int(min_priority, "min_priority", 0, 254)

    def __repr__(self) -> str:
        parts = [f"avoid={sorted(self.avoided_methods)}" if self.avoided_methods else ""]
        parts += [f"features={self.features!r}" if self.features else "", f"flags={self.flags!r}" if self.flags else ""]
        if self.max_interval is not None or self.max_callbacks is not None:
            parts.append(f"max_dispatch_interval={self.max_interval}, max_callbacks={self.max_callbacks}")
        return f"EventConfig({', '.join(filter(None, parts))})"

    def _to_c(self) -> tuple[Any, Any]:
        """The struct for C, and what must be kept while it is used."""
        avoid = ffi.new("char[]", ",".join(sorted(self.avoided_methods)).encode())
        out = ffi.new("struct pev_config *")
        out.avoid = avoid
        out.features = self.features
        out.flags = self.flags
        out.num_cpus_hint = self.num_cpus_hint
        out.max_interval = -1.0 if self.max_interval is None else self.max_interval
        out.max_callbacks = _NO_LIMIT if self.max_callbacks is None else self.max_callbacks
        out.min_priority = self.min_priority
        return out, avoid


def _all(kind: type[Feature] | type[BaseFlag]) -> int:
    return sum(kind)
