"""The description of the running graph: which processes, with which parameters, and what they say to each other.

Read by the launch files, by `reconvla up`, by the demo and by the tests, so that they cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reconvla_ros.config import Scalar
from reconvla_ros.errors import ConfigError, choices

SIM_PORT = 43113  # UDP port of the simulated CAN bus (python-can's default for udp_multicast)
CAMERAS = ("camera_base", "camera_wrist")


@dataclass(frozen=True)
class Argument:
    """A launch argument: name, default, meaning, and the choices where there are any."""

    name: str
    default: str
    description: str
    options: tuple[str, ...] = ()


ARGUMENTS = (
    Argument("arm", "sim", "simulated PiPER or the real one", ("sim", "piper")),
    Argument("cameras", "sim", "rendered cameras or RealSense", ("sim", "realsense")),
    Argument("checkpoint", "demo", "folder of a ReconVLA checkpoint; demo = the one made on this machine"),
    Argument("can_port", "can0", "CAN interface of the real arm"),
    Argument("record", "false", "open an episode as soon as the graph is up", ("true", "false")),
    Argument("rviz", "false", "start rviz2 with config/reconvla.rviz", ("true", "false")),
    Argument(
        "dry_run", "auto", "send nothing to the arm; auto = true on steel, false in sim", ("auto", "true", "false")
    ),
    Argument("images", "raw", "what travels from cameras to policy", ("raw", "compressed")),
    Argument(
        "realtime", "auto", "real-time turn for driver and simulator, where this user may have it", ("auto", "off")
    ),
    Argument("namespace", "", "namespace of every node; a second arm gets its own"),
    Argument("autostart", "true", "lifecycle nodes configure and activate themselves", ("true", "false")),
    Argument(
        "scene", "fruit_in_bowl", "simulated task, with variants: fruit_in_bowl+unseen+moved+looks; empty; calibration"
    ),
    Argument("seed", "0", "seed of the simulated scene and of the demo checkpoint"),
    Argument("sim_port", str(SIM_PORT), "UDP port of the simulated CAN bus; a second simulated arm needs another"),
    Argument("serial_base", "", "serial of the RealSense at the base; empty = as config/cameras.yaml says"),
    Argument("serial_wrist", "", "serial of the RealSense at the wrist; empty = as config/cameras.yaml says"),
    Argument("camera_rate", "0", "frames per second of both cameras; 0 = as config/cameras.yaml says"),
    Argument(
        "calibration", "auto", "file of `reconvla calibrate`; none = poses of config/cameras.yaml; auto = the user's"
    ),
    Argument("device", "", "where the policy runs: cpu, cuda or auto; empty = as config/policy.yaml says"),
    Argument("duty", "0", "largest share of time the policy may compute; 0 = as config/policy.yaml says"),
    Argument(
        "policy",
        "reconvla",
        "the model; a small circle without weights; in sim the expert that knows where things are",
        ("reconvla", "scripted", "expert"),
    ),
    Argument(
        "teleop",
        "none",
        "steer by hand; in sim a leader is simulated, too. Keyboard: reconvla teleop",
        ("none", "gamepad", "leader"),
    ),
    Argument("gamepad", "/dev/input/js0", "the gamepad of teleop:=gamepad"),
    Argument("leader_port", "can1", "CAN interface of the leader arm; never that of the arm that follows"),
    Argument("record_folder", "episodes", "folder that episodes are written to"),
)
BY_NAME = {a.name: a for a in ARGUMENTS}


def resolve(given: Mapping[str, str]) -> dict[str, str]:
    """Fill in defaults and refuse what is not valid.

    Raises:
        ConfigError: an unknown argument, or a value outside its choices.
    """
    for name, value in given.items():
        if name not in BY_NAME:
            raise ConfigError(f"unknown launch argument {choices(name, BY_NAME)}")
        options = BY_NAME[name].options
        if options and value not in options:
            raise ConfigError(f"launch argument {name}: {choices(value, options)}")
    values = {a.name: given.get(a.name, a.default) for a in ARGUMENTS}
    for name, low, high in (("sim_port", 1024, 65535), ("seed", 0, 2**31 - 1), ("camera_rate", 0, 90)):
        if not values[name].isdigit() or not low <= int(values[name]) <= high:
            raise ConfigError(f"launch argument {name}: must be a whole number in {low}..{high}, got {values[name]!r}")
    if values["serial_base"] and values["serial_base"] == values["serial_wrist"]:
        raise ConfigError(
            f"launch argument serial_wrist: {values['serial_wrist']!r} is serial_base, too; two cameras have two"
        )
    try:
        duty = float(values["duty"])
    except ValueError:
        duty = -1.0
    if not 0.0 <= duty <= 1.0:
        raise ConfigError(f"launch argument duty: must be in 0..1, got {values['duty']!r}")
    return values


@dataclass(frozen=True)
class NodeSpec:
    """One process of the graph.

    Attributes:
        name: ROS node name.
        executable: under lib/reconvla_ros, and the module under reconvla_ros/nodes.
        half: robot (the computer with the bus) or policy (the one with the GPU).
        config: parameter files in config/, in order.
        parameters: on top of the files.
        environment: variables set for this process only.
        nice: how far it stands back from the processor for those that keep time (driver, simulator), as nice(1) counts.
    """

    name: str
    executable: str
    half: str
    config: tuple[str, ...]
    parameters: dict[str, Scalar] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    nice: int = 0


# Read by nodes/base.py: ask for a real-time turn at the processor, where this user may (docs/how-to/real-time.md).
REALTIME = "RECONVLA_REALTIME"
# One thread each for software rendering and linear algebra: several processes share the cores.
_ONE_THREAD = {"LP_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}


def describe(arguments: Mapping[str, str]) -> list[NodeSpec]:
    """Every process of the graph for these launch arguments, in the order they are started.

    Raises:
        ConfigError: as `resolve`.
    """
    a = resolve(arguments)
    auto: dict[str, Scalar] = {"autostart": a["autostart"] == "true"}
    port = int(a["sim_port"])
    keeps_time = {**_ONE_THREAD, REALTIME: "1" if a["realtime"] == "auto" else "0"}
    nodes = []
    if a["arm"] == "sim":
        world: dict[str, Scalar] = {"scene": a["scene"], "seed": int(a["seed"]), "sim_port": port, **auto}
        nodes.append(NodeSpec("simulator", "simulator_node", "robot", ("simulator.yaml",), world, keeps_time))
    elif a["cameras"] == "sim":
        raise ConfigError("cameras:=sim shows the simulated arm; with arm:=piper choose cameras:=realsense")
    nodes.append(NodeSpec("driver", "driver_node", "robot", ("piper.yaml",), {**_driver(a), **auto}, keeps_time))
    nodes.append(NodeSpec("task", "task_node", "robot", ("tasks.yaml",), auto, _ONE_THREAD))
    for camera in CAMERAS:
        extra: dict[str, Scalar] = {"source": a["cameras"], "calibration": a["calibration"], **auto}
        if a["cameras"] == "sim":
            extra["sim_port"] = port
        if serial := a[camera.replace("camera", "serial")]:
            extra["serial"] = serial
        if int(a["camera_rate"]):
            extra["rate"] = int(a["camera_rate"])
        nodes.append(NodeSpec(camera, "camera_node", "robot", ("cameras.yaml",), extra, _ONE_THREAD, nice=5))
    recorder: dict[str, Scalar] = {"folder": a["record_folder"], "record_at_start": a["record"] == "true", **auto}
    nodes.append(NodeSpec("recorder", "recorder_node", "robot", ("recorder.yaml",), recorder, _ONE_THREAD))
    nodes += _teleop(a, auto)
    nodes.append(
        NodeSpec("policy", "policy_node", "policy", ("policy.yaml",), {**_policy(a), **auto}, _ONE_THREAD, nice=10)
    )
    return nodes


def _teleop(a: Mapping[str, str], auto: dict[str, Scalar]) -> list[NodeSpec]:
    """The node that steers by hand, and in sim the leader that a hand moves."""
    if a["teleop"] == "none":
        return []
    parameters: dict[str, Scalar] = {"device": a["teleop"], "gamepad": a["gamepad"], **auto}
    nodes = []
    if a["teleop"] == "leader" and a["arm"] == "sim":
        port = int(a["sim_port"]) + 1
        leader: dict[str, Scalar] = {"role": "leader", "hand": "wave", "scene": "empty", "sim_port": port, **auto}
        nodes.append(NodeSpec("leader", "simulator_node", "robot", ("simulator.yaml",), leader, _ONE_THREAD))
        parameters |= {"leader_interface": "udp_multicast", "leader_udp_port": port}
    elif a["teleop"] == "leader":
        if a["leader_port"] == a["can_port"]:
            raise ConfigError(
                f"launch argument leader_port: {a['leader_port']!r} is the bus of the arm that follows (can_port): it "
                "would obey the leader past every limit; give the leader a CAN interface of its own"
            )
        parameters |= {"leader_port": a["leader_port"], "follower_port": a["can_port"]}
    return [*nodes, NodeSpec("teleop", "teleop_node", "robot", ("teleop.yaml",), parameters, _ONE_THREAD)]


def _driver(a: Mapping[str, str]) -> dict[str, Scalar]:
    simulated = a["arm"] == "sim"
    return {
        "arm": a["arm"],
        "can_interface": "udp_multicast" if simulated else "socketcan",
        "can_port": a["can_port"],
        "sim_port": int(a["sim_port"]),
        "dry_run": (not simulated) if a["dry_run"] == "auto" else a["dry_run"] == "true",
        "auto_enable": simulated,
        "auto_ready": simulated,
    }


def _policy(a: Mapping[str, str]) -> dict[str, Scalar]:
    values: dict[str, Scalar] = {
        "policy": a["policy"],
        "checkpoint": a["checkpoint"],
        "seed": int(a["seed"]),
        "images": a["images"],
        "simulated": a["arm"] == "sim",
        "sim_port": int(a["sim_port"]),
    }
    if a["policy"] == "expert" and a["arm"] != "sim":
        raise ConfigError("policy:=expert knows where things are from the simulator; it cannot drive arm:=piper")
    if a["device"]:
        values["device"] = a["device"]
    if float(a["duty"]):
        values["duty"] = float(a["duty"])
    return values


@dataclass(frozen=True)
class Topic:
    """A topic of the public surface: relative name, type, who publishes it, and whether late joiners get the last one."""

    name: str
    type: str
    node: str
    latched: bool = False


def _camera_topics(camera: str) -> tuple[Topic, ...]:
    return (
        Topic(f"{camera}/color/image_raw", "sensor_msgs/msg/Image", camera),
        Topic(f"{camera}/color/camera_info", "sensor_msgs/msg/CameraInfo", camera),
        Topic(f"{camera}/aligned_depth_to_color/image_raw", "sensor_msgs/msg/Image", camera),
        Topic(f"{camera}/aligned_depth_to_color/camera_info", "sensor_msgs/msg/CameraInfo", camera),
    )


# The truth about a simulated scene, for evaluation and recordings; no policy listens to it.
SIM_TOPICS = (
    Topic("sim/objects", "tf2_msgs/msg/TFMessage", "simulator"),
    Topic("sim/success", "std_msgs/msg/Bool", "simulator"),
)
TOPICS: tuple[Topic, ...] = (
    *(topic for camera in CAMERAS for topic in _camera_topics(camera)),
    Topic("joint_states", "sensor_msgs/msg/JointState", "driver"),
    Topic("arm/ee_pose", "geometry_msgs/msg/PoseStamped", "driver"),
    Topic("arm/status", "reconvla_ros/msg/ArmStatus", "driver"),
    Topic("arm/action_trace", "reconvla_ros/msg/ActionTrace", "driver"),
    Topic("arm/limits", "visualization_msgs/msg/MarkerArray", "driver", latched=True),
    Topic("robot_description", "std_msgs/msg/String", "driver", latched=True),
    Topic("tf", "tf2_msgs/msg/TFMessage", "driver"),
    Topic("tf_static", "tf2_msgs/msg/TFMessage", "cameras and driver", latched=True),
    Topic("policy/action_chunk", "reconvla_ros/msg/ActionChunk", "policy"),
    Topic("policy/ee_pose", "geometry_msgs/msg/PoseStamped", "policy"),
    Topic("policy/gripper", "std_msgs/msg/Float32", "policy"),
    Topic("policy/path", "nav_msgs/msg/Path", "policy"),
    Topic("policy/attention", "sensor_msgs/msg/Image", "policy"),
    Topic("policy/attention_raw", "sensor_msgs/msg/Image", "policy"),
    Topic("policy/status", "reconvla_ros/msg/PolicyStatus", "policy"),
    Topic("task/state", "reconvla_ros/msg/TaskState", "task", latched=True),
    Topic("record/state", "reconvla_ros/msg/RecordState", "recorder", latched=True),
    *SIM_TOPICS,
    Topic("diagnostics", "diagnostic_msgs/msg/DiagnosticArray", "every node"),
)

# Frames of tf in the running graph; the URDF names all but the cameras'.
FRAMES = (
    "base_link",
    *(f"link{i}" for i in range(1, 7)),
    "tool0",
    "tcp",
    "gripper_base",
    *(f"{camera}_{part}" for camera in CAMERAS for part in ("link", "color_frame", "color_optical_frame")),
)
