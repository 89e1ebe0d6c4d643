"""On the PYTHONPATH of one side: its ROS clock is off by RECONVLA_TEST_CLOCK_SHIFT [s]. The system clock is never touched."""

from __future__ import annotations

import os
import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any

SHIFT_NS = round(float(os.environ.get("RECONVLA_TEST_CLOCK_SHIFT", "0")) * 1e9)


class _Shifter(MetaPathFinder, Loader):
    """Lets rclpy.clock load as ever, then shifts what its clocks say."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "rclpy.clock":
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None and spec.loader is not None
        self._loader = spec.loader
        spec.loader = self
        return spec

    def create_module(self, spec: ModuleSpec) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        self._loader.exec_module(module)
        from rclpy.duration import Duration

        now = module.Clock.now
        module.Clock.now = lambda clock: now(clock) + Duration(nanoseconds=SHIFT_NS)


if SHIFT_NS:
    sys.meta_path.insert(0, _Shifter())
