"""ros2 launch reconvla_ros policy.launch.py: the GPU's computer: the policy."""

from launch import LaunchDescription
from reconvla_ros.cli.launching import half


def generate_launch_description() -> LaunchDescription:
    """Called by launch."""
    return half("policy")
