"""Named QoS profiles; every publisher and subscription of the package uses one of them."""

from __future__ import annotations

from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy


def _profile(depth: int, *, reliable: bool = True, latched: bool = False) -> QoSProfile:
    return QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=depth,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


# Images are offered reliably, as realsense2_camera does, so that a recorder may ask for every one; a reader that wants
# the newest subscribes with NEWEST, keeps the last it took, and never holds the camera back.
# A second of frames, so that a reader that was held up can still ask for what it missed.
IMAGE = _profile(30)
NEWEST = _profile(10, reliable=False)
STATE = _profile(1000)  # joint states and the like: small, frequent, all wanted; 5 s of them for a starved recorder
# What the policy asks for: with STATE's depth a starved one works through joints that are 5 s old, and never gets beyond them.
NEWEST_STATE = _profile(50, reliable=False)
COMMAND = _profile(5)  # chunks and end-effector commands: few, and the newest counts
STATUS = _profile(10)
LATCHED = _profile(1, latched=True)
# tf_static has several publishers; each keeps its own last message for late joiners.
TF = _profile(100)
TF_STATIC = _profile(1, latched=True)
# What a recorder asks for: deep enough that a short stall loses nothing.
RECORD = _profile(1000)
RECORD_IMAGES = _profile(200)  # a deeper queue of them would fill the memory
RECORD_LATCHED = _profile(20, latched=True)
