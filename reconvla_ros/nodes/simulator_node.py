"""The simulated PiPER as a process: firmware model and physics behind a CAN bus that piper_sdk can talk to.

ros2 run reconvla_ros simulator_node --ros-args --params-file config/simulator.yaml
"""

from __future__ import annotations

import sys
import threading

from std_msgs.msg import Bool
from std_srvs.srv import Trigger
from tf2_msgs.msg import TFMessage

from reconvla_ros.errors import ReconVlaError
from reconvla_ros.nodes import qos, sim_convert
from reconvla_ros.nodes.base import ERROR, OK, ManagedNode
from reconvla_ros.nodes.process import run
from reconvla_ros.sim import scenes
from reconvla_ros.sim.arm_on_can import SimulatedArm
from reconvla_ros.sim.bus import BusConfig
from reconvla_ros.sim.firmware import FirmwareOptions
from reconvla_ros.sim.leader import wave
from reconvla_ros.sim.settings import SimulatorConfig


class SimulatorNode(ManagedNode):
    """Runs a `SimulatedArm` in a thread. Like the steel it stands for, it goes on whatever becomes of the driver."""

    def __init__(self) -> None:
        super().__init__("simulator", SimulatorConfig)
        self._arm: SimulatedArm | None = None
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._error = ""
        self._objects = self.publish_on(TFMessage, "sim/objects", qos.STATE)
        self._success = self.publish_on(Bool, "sim/success", qos.STATE)
        self._seed = self.config.seed
        self.create_service(Trigger, "sim/next", self._on_next)

    def setup(self) -> None:
        """Build the world and join the bus."""
        config: SimulatorConfig = self.config
        bus = BusConfig(port=config.sim_port)
        options = FirmwareOptions(
            version=config.firmware, gripper_range=config.gripper_range, leader=config.role == "leader"
        )
        self._arm = SimulatedArm(bus, scenes.make(config.scene, config.seed), options)
        self._arm.leader.hand = wave if config.hand == "wave" else None
        if self._arm.world.director is not None:
            self._arm.told = self._tell
        self.get_logger().info(
            f"simulated PiPER {config.firmware} on {bus.name}, scene {config.scene} seed {config.seed}"
        )

    def start(self) -> None:
        """Let time run."""
        self._stop.clear()
        self._thread = threading.Thread(target=self._loop, name="simulated arm", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        assert self._arm is not None
        try:
            self._arm.run(self._stop)
        except ReconVlaError as error:
            self._error = str(error)
            self.get_logger().error(str(error))

    def _on_next(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        """The same task from the next seed; the arm stays where it is."""
        if self._arm is None:
            response.success, response.message = False, "the simulator is not configured"
            return response
        self._seed += 1
        self._arm.load(scenes.make(self.config.scene, self._seed))
        response.success, response.message = True, f"scene {self.config.scene} seed {self._seed}"
        return response

    def _tell(self, stamp_ns: int) -> None:
        """In the arm's thread: where things are, and whether the task is done."""
        if self._arm is None or self._arm.world.director is None:
            return
        objects, success = sim_convert.truth_of(self._arm.world.director, self._arm.world.data, stamp_ns)
        self._objects.publish(objects)
        self._success.publish(success)

    def stop(self) -> None:
        """Stop time."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
            self._thread = None

    def close(self) -> None:
        """Leave the bus."""
        if self._arm is not None:
            self._arm.close()
            self._arm = None

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """How well real time is kept."""
        if self._arm is None:
            return OK, "", {}
        stats = self._arm.stats
        values: dict[str, object] = {"cycles": stats.cycles, "late": stats.late, "lost": stats.lost}
        return (ERROR, self._error, values) if self._error else (OK, "", values)


def main() -> int:
    """Entry of the executable."""
    return run(SimulatorNode)


if __name__ == "__main__":
    sys.exit(main())
