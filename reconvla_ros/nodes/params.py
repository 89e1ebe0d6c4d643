"""A config dataclass <-> ROS parameters: declared with description, unit and bounds, read once, unknown ones refused."""

from __future__ import annotations

import dataclasses
from typing import Any, TypeVar

from rcl_interfaces.msg import ParameterDescriptor
from rclpy.node import Node

from reconvla_ros.config import Param, build
from reconvla_ros.errors import ConfigError, choices

T = TypeVar("T")

# Parameters that rclpy declares by itself; they are legitimate in a parameter file.
_OF_RCLPY = {"use_sim_time", "start_type_description_service"}
AUTOSTART = "autostart"  # every managed node has it


def _describe(info: Param) -> str:
    text = info.description + (f" [{info.unit}]" if info.unit else "")
    if info.low is not None or info.high is not None:
        text += f" ({info.low if info.low is not None else '-inf'}..{info.high if info.high is not None else 'inf'})"
    if info.options:
        text += f" (one of: {', '.join(info.options)})"
    return text


def declare(node: Node, cls: type[T]) -> T:
    """Declare every field of `cls` on `node`, read the overrides and build the dataclass.

    Parameters are read-only: a running robot does not change its limits under way; restart the node instead.

    Raises:
        ConfigError: an override that no field knows, or a value the field refuses.
    """
    overrides = node._parameter_overrides  # rclpy has no public way to see undeclared overrides
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for name in overrides:
        if name not in fields and name not in (*_OF_RCLPY, AUTOSTART) and not name.startswith("qos_overrides."):
            raise ConfigError(f"node {node.get_name()}: unknown parameter {choices(name, sorted(fields))}")
    # Every value goes through `build` first, so that our message, with bound and choices, is what the user reads.
    given: dict[str, Any] = {n: _value(p.value, fields[n]) for n, p in overrides.items() if n in fields}
    config = build(cls, given, where=node.get_name())
    _declare_autostart(node)
    for name, field in fields.items():
        info: Param = field.metadata.get("param", Param(name))
        value = getattr(config, name)
        descriptor = ParameterDescriptor(description=_describe(info), read_only=True, dynamic_typing=True)
        shown = list(value) if isinstance(value, tuple) else value
        node.declare_parameter(name, shown, descriptor, ignore_override=True)
    return config


def _value(value: Any, field: dataclasses.Field[Any]) -> Any:
    """A parameter file's empty list has no type for ROS, which hands it over as "not set"."""
    return [] if value is None and isinstance(field.default, tuple) else value


def _declare_autostart(node: Node) -> None:
    descriptor = ParameterDescriptor(description="configure and activate without a lifecycle manager", read_only=True)
    node.declare_parameter(AUTOSTART, True, descriptor)
