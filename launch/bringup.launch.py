"""ros2 launch reconvla_ros bringup.launch.py [arm:=sim|piper ...]: the whole graph on one computer.

`ros2 launch reconvla_ros bringup.launch.py --show-args` lists the arguments.
"""

from launch import LaunchDescription
from reconvla_ros.cli.launching import both


def generate_launch_description() -> LaunchDescription:
    """Called by launch."""
    return both()
