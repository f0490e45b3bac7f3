"""Does a value from a JSON file have the type that its field promises?

    >>> from dataclasses import dataclass
    >>> @dataclass
    ... class Sizes:
    ...     width: int = 48
    ...     eps: float = 1e-5
    >>> misfits(Sizes("48", 1))                                  # an int is a fine float, a string is no int
    [('width', 'int', '48')]
"""

from __future__ import annotations

import math
from dataclasses import is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin, get_type_hints


def misfits(record: Any) -> list[tuple[str, str, Any]]:
    """(field, its type, the value) of every field of a dataclass whose value is of another type."""
    hints = _hints(type(record))
    return [(name, _written(hint), getattr(record, name)) for name, hint in hints.items()
            if not fits(getattr(record, name), hint)]


def fits(value: Any, hint: Any) -> bool:
    """True where the value is of the type, all the way down; True and False are no numbers here."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return True
    if origin in (Union, UnionType):
        return any(fits(value, one) for one in inner)
    if origin is dict:
        return isinstance(value, dict) and all(fits(key, inner[0]) and fits(item, inner[1])
                                               for key, item in value.items())
    if origin is list:
        return isinstance(value, list) and all(fits(item, inner[0]) for item in value)
    if origin is tuple:
        return _tuple_fits(value, inner)
    return _plain_fits(value, hint)


def _plain_fits(value: Any, hint: type) -> bool:
    if hint in (int, float) and isinstance(value, bool):
        return False
    if hint is float:
        return isinstance(value, (int, float)) and math.isfinite(value)
    return isinstance(value, hint) and (not is_dataclass(value) or not misfits(value))


def _tuple_fits(value: Any, inner: tuple[Any, ...]) -> bool:
    if not isinstance(value, tuple):
        return False
    wanted = [inner[0]] * len(value) if inner[-1] is Ellipsis else list(inner)
    return len(value) == len(wanted) and all(map(fits, value, wanted))


def _written(hint: Any) -> str:
    if get_origin(hint) in (Union, UnionType):
        return " or ".join(_written(one) for one in get_args(hint))
    if hint is NoneType:
        return "null"
    return hint.__name__ if isinstance(hint, type) and not get_args(hint) else str(hint)


@cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record)
