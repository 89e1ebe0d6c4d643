"""ros2 launch reconvla_ros robot.launch.py: the robot's computer: simulator or arm, driver, task, cameras, recorder."""

from launch import LaunchDescription
from reconvla_ros.cli.launching import half


def generate_launch_description() -> LaunchDescription:
    """Called by launch."""
    return half("robot")
