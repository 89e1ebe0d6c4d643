"""YAML -> frozen dataclasses; an unknown key, a wrong type, length or bound is refused with the valid choices.

One file format serves ROS and everything else: a ROS 2 parameter file, ``<node>: {ros__parameters: {...}}``, where
``/**`` holds what several nodes share. A dataclass states each fact once::

    @dataclass(frozen=True)
    class RateConfig:
        rate: float = param(200.0, "period of the loop", unit="Hz", low=1.0, high=1000.0)

Nested structure is flattened with dots (``workspace.x``) the way ROS parameters are.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import yaml

from reconvla_ros.errors import ConfigError, choices

T = TypeVar("T")

Scalar = bool | int | float | str
SHARED = "/**"


@dataclass(frozen=True)
class Param:
    """What is known of one parameter: its meaning, unit and bounds (inclusive), length of a list, or choices."""

    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    length: int | None = None
    options: tuple[str, ...] = ()


def param(
    default: Any,
    description: str,
    *,
    unit: str = "",
    low: float | None = None,
    high: float | None = None,
    length: int | None = None,
    options: tuple[str, ...] = (),
) -> Any:
    """A dataclass field that carries its `Param`. A list default is given as a tuple."""
    info = Param(description, unit, low, high, length, options)
    return field(default=default, metadata={"param": info})


def _number(name: str, value: Any, info: Param, whole: bool) -> float | int:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or (whole and not float(value).is_integer()):
        kind = "a whole number" if whole else "a number"
        raise ConfigError(f"{name}: must be {kind}, got {value!r}")
    if not math.isfinite(value):
        raise ConfigError(f"{name}: must be finite, got {value!r}")
    low = -math.inf if info.low is None else info.low
    high = math.inf if info.high is None else info.high
    if not low <= value <= high:
        raise ConfigError(f"{name}: must be in {low:g}..{high:g} {info.unit}".rstrip() + f", got {value!r}")
    return int(value) if whole else float(value)


def _check(name: str, value: Any, hint: Any, info: Param) -> Any:
    text = str(hint)
    if text.startswith("tuple"):
        if isinstance(value, str) or not isinstance(value, Sequence):
            raise ConfigError(f"{name}: must be a list, got {value!r}")
        if info.length is not None and len(value) != info.length:
            raise ConfigError(f"{name}: must have {info.length} entries, got {len(value)} ({list(value)!r})")
        item = "float" if "float" in text else "int" if "int" in text else "str"
        kind = {"float": float, "int": int, "str": str}[item]
        return tuple(_check(f"{name}[{i}]", v, kind, info) for i, v in enumerate(value))
    if hint is bool:
        if not isinstance(value, bool):
            raise ConfigError(f"{name}: must be true or false, got {value!r}")
        return value
    if hint in (int, float):
        return _number(name, value, info, whole=hint is int)
    if isinstance(value, bool) and (word := "on" if value else "off") in info.options:
        return word  # YAML reads a bare on or off as true or false
    if not isinstance(value, str):
        raise ConfigError(f"{name}: must be text, got {value!r}")
    if info.options and value not in info.options:
        raise ConfigError(f"{name}: {choices(value, info.options)}")
    return value


def build(cls: type[T], values: Mapping[str, Any], where: str = "") -> T:
    """Make the dataclass `cls` from flat `values`.

    Raises:
        ConfigError: an unknown key, a wrong type, a bound broken, a list of the wrong length.
    """
    hints = get_type_hints(cls)
    known = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    prefix = f"{where}." if where else ""
    for key in values:
        if key not in known:
            raise ConfigError(f"unknown parameter {prefix}{choices(key, sorted(known))}")
    checked = {}
    for key, value in values.items():
        info = known[key].metadata.get("param", Param(""))
        checked[key] = _check(prefix + key, value, hints[key], info)
    return cls(**checked)


def read_yaml(path: Path) -> dict[str, Any]:
    """Read one YAML mapping.

    Raises:
        ConfigError: the file is missing, is not YAML or is not a mapping.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        near = sorted(p.name for p in path.parent.glob("*.yaml")) if path.parent.is_dir() else []
        raise ConfigError(
            f"config file {path} does not exist ({path.parent} holds: {', '.join(near) or 'nothing'})"
        ) from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"config file {path} cannot be read: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"config file {path}: expected a mapping at the top, got {type(data).__name__}")
    return data


def node_parameters(path: Path, node: str) -> dict[str, Any]:
    """The parameters a ROS 2 parameter file gives to `node`: those under ``/**`` first, then its own.

    Its own stand under ``/**/<node>``, which ROS matches in every namespace, or under ``<node>``.


    Raises:
        ConfigError: the file is not in the form ``<node>: {ros__parameters: {...}}``.
    """
    data = read_yaml(path)
    merged: dict[str, Any] = {}
    for name in (SHARED, f"{SHARED}/{node}", node):
        section = data.get(name, {})
        if not isinstance(section, dict) or (section and set(section) != {"ros__parameters"}):
            raise ConfigError(f"{path}: {name} must hold exactly the key 'ros__parameters', got {section!r:.80}")
        merged.update(flatten(section.get("ros__parameters") or {}))
    return merged


def flatten(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested mappings -> one level with dotted keys, as ROS does."""
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping):
            flat.update(flatten(value, f"{prefix}{key}."))
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def load(cls: type[T], path: Path, node: str) -> T:
    """`build` the dataclass of `node` from a ROS 2 parameter file."""
    return build(cls, node_parameters(path, node), where=f"{path.name}:{node}")
