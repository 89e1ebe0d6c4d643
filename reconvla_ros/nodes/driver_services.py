"""The services of the driver. Callbacks only hand over; what blocks runs in a thread, so that arm/stop gets in."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from rclpy.node import Node
from rclpy.task import Future
from std_srvs.srv import SetBool, Trigger

from reconvla_ros.arm.control import DriverCore
from reconvla_ros.errors import ReconVlaError, choices
from reconvla_ros.srv import Confirmed, Release, SetSource

_SINK, _FALL = "SINK", "FALL"  # the words that confirm


class DriverServices:
    """Offers the services on `node` for the core that `core()` gives; None = not configured."""

    def __init__(self, node: Node, core: Callable[[], DriverCore | None]) -> None:
        self._node, self._core = node, core
        node.create_service(SetBool, "arm/enable", self._enable)
        node.create_service(Trigger, "arm/stop", self._answer(lambda core, _: self._stop(core)))
        node.create_service(Trigger, "arm/clear_stop", self._answer(lambda core, _: core.clear_stop()))
        node.create_service(Trigger, "arm/home", self._answer(lambda core, _: core.home()))
        node.create_service(Trigger, "arm/ready", self._answer(lambda core, _: core.ready()))
        node.create_service(Release, "arm/release", self._answer(self._release))
        node.create_service(SetSource, "arm/source", self._source)
        node.create_service(Confirmed, "arm/damped_stop", self._confirmed(_SINK, DriverCore.damped_stop, "SINKS"))
        node.create_service(Confirmed, "arm/power_cycle", self._confirmed(_FALL, DriverCore.power_cycle, "FALLS"))

    def _answer(self, act: Callable[[DriverCore, Any], tuple[bool, str]]) -> Callable[[Any, Any], Any]:
        """A callback that fills `success` and `message`."""

        def callback(request: Any, response: Any) -> Any:
            core = self._core()
            try:
                response.success, response.message = (
                    (False, "the driver is not configured") if core is None else act(core, request)
                )
            except ReconVlaError as error:
                response.success, response.message = False, str(error)
            self._node.get_logger().info(f"{type(request).__name__}: {response.message}")
            return response

        return callback

    @staticmethod
    def _stop(core: DriverCore) -> tuple[bool, str]:
        core.stop()
        return True, "stopped: the arm decelerates and holds until arm/clear_stop"

    @staticmethod
    def _release(core: DriverCore, request: Release.Request) -> tuple[bool, str]:
        act = {"open": DriverCore.release_gripper, "back_off": DriverCore.back_off}.get(request.mode)
        return (
            act(core)
            if act
            else (False, f"release mode {choices(request.mode, ['open', 'back_off'])}; nothing is sent")
        )

    def _source(self, request: SetSource.Request, response: SetSource.Response) -> SetSource.Response:
        core = self._core()
        if core is None:
            response.accepted, response.message, response.holder = False, "the driver is not configured", "none"
            return response
        response.accepted, response.message = core.set_source(request.source)
        response.holder = core.holder
        return response

    def _confirmed(self, word: str, act: Callable[[DriverCore], None], what: str) -> Callable[[Any, Any], Any]:
        def confirm(core: DriverCore, request: Confirmed.Request) -> tuple[bool, str]:
            if request.confirmation != word:
                return False, f"nothing was sent: the arm {what}. Support it and confirm with the word {word}"
            act(core)
            return True, f"sent; the arm {what.lower()}"

        return self._answer(confirm)

    async def _enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        core = self._core()
        if core is None:
            response.message = "the driver is not configured"
            return response
        done: Future = Future(executor=self._node.executor)

        def work() -> None:
            try:
                core.enable(request.data)
                done.set_result((True, "the motors have power" if request.data else "the motors have no power"))
            except ReconVlaError as error:
                done.set_result((False, str(error)))

        threading.Thread(target=work, name="enable", daemon=True).start()
        response.success, response.message = await done
        return response
