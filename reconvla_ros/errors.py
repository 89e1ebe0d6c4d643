"""Every exception this package raises on purpose.

::

    ReconVlaError
    +-- ConfigError          a YAML key, a parameter or a launch argument the user can fix
    +-- ShapeError           an array of wrong shape, type or with a non-finite entry
    +-- CheckpointError      a checkpoint folder that is missing, incomplete or contradicts itself
    +-- ContractError        a contract that is missing or contradicts the model or the arm
    +-- TokenGateError       the model's answer is not exactly the action tokens asked for
    +-- ObservationError     an observation that may not be used (missing, stale, skewed)
    +-- LimitError           a safety limit that is unreadable, unordered or looser than the hard table
    +-- KinematicsError      a pose that no joint position reaches
    +-- ArmError             the arm or its bus: not there, not enabled, someone else's
    |   +-- BusError         the CAN bus itself
    +-- CameraError          a camera that is missing, misconfigured or gone
    +-- CalibrationError     views from which no camera pose follows, or a stored one that does not fit
    +-- TeleopError          a device to steer the arm with: missing, unplugged, not what it should be
    +-- RecordingError       a bag that cannot be written or read
    +-- DatasetError         a data set that cannot be written or read, or episodes it cannot be made of
    +-- TrainingError        data that cannot be learned from, or a run that must not go on
    +-- TaskError            a task that cannot be accepted
    +-- Cancelled            work that was called off before it was done
    +-- SetupError           something this machine lacks, with its remedy

Each message names the thing, the bound, the value and, where there are any, the choices. Foreign exceptions are
wrapped with ``raise ... from``. Plain ``ValueError`` and ``AssertionError`` mean a mistake of ours.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class ReconVlaError(Exception):
    """Root of everything raised on purpose; catch this at the border of a process."""


class ConfigError(ReconVlaError):
    """A YAML key, a parameter or a launch argument that the user can fix."""


class ShapeError(ReconVlaError):
    """An array of the wrong shape or type, or with an entry that is not finite."""


class CheckpointError(ReconVlaError):
    """A checkpoint folder that is missing, incomplete or contradicts itself."""


class ContractError(ReconVlaError):
    """A contract that is missing, or that contradicts the model or the arm."""


class TokenGateError(ReconVlaError):
    """The model's answer is not exactly the action tokens that were asked for."""


class ObservationError(ReconVlaError):
    """An observation that may not be used: missing, stale or skewed."""


class LimitError(ReconVlaError):
    """A safety limit that is unreadable, unordered or looser than the hard table."""


class KinematicsError(ReconVlaError):
    """A pose that no joint position inside the limits reaches."""


class ArmError(ReconVlaError):
    """The arm: not there, not enabled, in a mode that does not obey, someone else's."""


class BusError(ArmError):
    """The CAN bus: missing, in use, silent."""


class CameraError(ReconVlaError):
    """A camera that is missing, misconfigured or gone."""


class CalibrationError(ReconVlaError):
    """Views from which no camera pose follows, or a stored calibration that does not fit the camera."""


class TeleopError(ReconVlaError):
    """A device to steer the arm with that is missing, was unplugged, or is not what it should be."""


class RecordingError(ReconVlaError):
    """A bag that cannot be written or read."""


class DatasetError(ReconVlaError):
    """A data set that cannot be written or read, or episodes that it cannot be made of."""


class TrainingError(ReconVlaError):
    """Training data that cannot be learned from, or a run that must not go on."""


class TaskError(ReconVlaError):
    """A task that cannot be accepted."""


class Cancelled(ReconVlaError):
    """Work that was called off by whoever asked for it; nothing is wrong."""


class SetupError(ReconVlaError):
    """Something this machine lacks; the message carries the remedy."""


def choices(value: object, valid: Iterable[object]) -> str:
    """Say what was given and what would have been valid, with the nearest valid spelling first.

    >>> choices("colr", ["color", "depth"])
    "'colr' (did you mean 'color'? valid: color, depth)"
    """
    names = [str(v) for v in valid]
    near = difflib.get_close_matches(str(value), names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    return f"{value!r} ({hint}valid: {', '.join(names) if names else 'nothing'})"
