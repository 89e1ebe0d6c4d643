"""What a camera is to the rest of the package; every implementation passes test/shared/camera_contract.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from reconvla_ros.types import CameraFrame, CameraIntrinsics


@runtime_checkable
class Camera(Protocol):
    """An RGB-D source: open, read frame by frame, close."""

    def open(self) -> CameraIntrinsics:
        """Start streaming and say what the colour stream looks like.

        Raises:
            CameraError: no such camera, or a profile it does not have (the message lists those it has).
        """
        ...

    def read(self, timeout: float) -> CameraFrame | None:
        """The next frame, or None when none came within `timeout` [s]. Stamps strictly increase.

        Raises:
            CameraError: the camera is gone; `open` may be tried again.
        """
        ...

    def close(self) -> None:
        """Stop; safe to call twice."""
        ...


@dataclass(frozen=True)
class Report:
    """What a camera says of itself.

    Attributes:
        warning: one line for a person; empty = nothing is wrong.
        values: figures by name, for `diagnostics`.
    """

    warning: str = ""
    values: dict[str, object] = field(default_factory=dict)


@runtime_checkable
class Reporting(Protocol):
    """A camera that can also say how it is."""

    def report(self) -> Report:
        """How the streams are now; from any thread, about once a second."""
        ...
