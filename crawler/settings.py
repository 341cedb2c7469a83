"""The values of settings: of the right type, or refused with a sentence that names the key."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BadSpec(ValueError):
    """A setting is unknown, of the wrong type or out of range; the message says which and what would do."""


def typed(key: str, wanted: str, value: Any) -> Any:
    """The value as the type ``wanted`` (as source text) has it. Raises BadSpec."""
    if value is None and "None" in wanted:
        return None
    if wanted.startswith("Mapping"):
        return _plain(table(key, value))
    if wanted.startswith("tuple"):
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list | tuple) or not all(isinstance(v, str) for v in values):
            raise BadSpec(f"{key}: must be a list of strings, not {value!r}")
        return tuple(values)
    kinds: dict[str, tuple[type, ...]] = {"int": (int,), "float": (int, float), "str": (str,), "bool": (bool,)}
    base = wanted.partition(" ")[0]
    if isinstance(value, bool) != (base == "bool") or not isinstance(value, kinds[base]):
        raise BadSpec(f"{key}: must be {'a number' if base == 'float' else base}, not {value!r}")
    return float(value) if isinstance(value, int) and base == "float" else value


def table(key: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise BadSpec(f"{key}: must be a table, not {value!r}")
    return value


def _plain(value: Any) -> Any:
    """As JSON gives it back."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return list(value) if isinstance(value, tuple) else value
