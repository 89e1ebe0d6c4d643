"""Settings of the task node (config/tasks.yaml)."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param


@dataclass(frozen=True)
class TaskConfig:
    """Timeouts of tasks."""

    default_timeout: float = param(60.0, "timeout of a task that names none", unit="s", low=0.1, high=3600.0)
