"""The graph as actions of `ros2 launch`; the launch files are three lines each on top of this.

Kept out of launch/ because launch files cannot import each other. Needs `launch` and `launch_ros`, which come with an apt
ROS 2; machines without them use `reconvla up`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from launch.actions import DeclareLaunchArgument, IncludeLaunchDescription, OpaqueFunction, SetEnvironmentVariable
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchDescription
from reconvla_ros.cli.places import middleware_environment, share
from reconvla_ros.graph import ARGUMENTS, NodeSpec, describe


def _declared() -> list[Any]:
    made = []
    for a in ARGUMENTS:
        # `choices=[]` would refuse everything; None means any.
        made.append(
            DeclareLaunchArgument(
                a.name, default_value=a.default, description=a.description, choices=list(a.options) or None
            )
        )
    return made


def _values(context: Any) -> dict[str, str]:
    return {a.name: LaunchConfiguration(a.name).perform(context) for a in ARGUMENTS}


def _node(spec: NodeSpec, namespace: str) -> Any:
    # launch would read a text such as "0" or "true" as YAML; a declared type keeps it text.
    parameters = {
        name: ParameterValue(value, value_type=str) if isinstance(value, str) else value
        for name, value in spec.parameters.items()
    }
    return Node(
        package="reconvla_ros",
        executable=spec.executable,
        name=spec.name,
        namespace=namespace,
        parameters=[*(str(share() / "config" / name) for name in spec.config), parameters],
        additional_env=spec.environment,
        prefix=f"nice -n {spec.nice}" if spec.nice else "",
        output="screen",
        emulate_tty=True,
        respawn=False,  # a driver that comes back by itself would arm itself in the middle of a motion
        sigterm_timeout="8",
    )


def half(name: str) -> LaunchDescription:
    """The processes of one computer: 'robot' or 'policy'."""

    def start(context: Any) -> list[Any]:
        values = _values(context)
        nodes = [_node(spec, values["namespace"]) for spec in describe(values) if spec.half == name]
        if name == "robot" and values["rviz"] == "true":
            config = str(share() / "config" / "reconvla.rviz")
            nodes.append(
                Node(
                    package="rviz2",
                    executable="rviz2",
                    name="rviz2",
                    namespace=values["namespace"],
                    arguments=["-d", config],
                )
            )
        return nodes

    environment = [SetEnvironmentVariable(k, v) for k, v in middleware_environment().items()]
    return LaunchDescription([*_declared(), *environment, OpaqueFunction(function=start)])


def both() -> LaunchDescription:
    """robot.launch.py and policy.launch.py on one computer, with the same arguments."""
    arguments = [(a.name, LaunchConfiguration(a.name)) for a in ARGUMENTS]
    included = [
        IncludeLaunchDescription(
            PythonLaunchDescriptionSource(str(Path(share()) / "launch" / f"{name}.launch.py")),
            launch_arguments=arguments,
        )
        for name in ("robot", "policy")
    ]
    return LaunchDescription([*_declared(), *included])
