"""Runs a policy: newest images, joints and TCP in, action chunks out, while a task runs.

The checkpoint loads in a thread of its own (policy/loader.py) and inference has another (policy/worker.py), so no
callback waits for either. A node that is activated while it loads begins to work when it is ready; until then
policy/status says LOADING, or FAULT when it failed, and the task node gives it no task.
"""

from __future__ import annotations

import sys

from std_srvs.srv import Trigger

from reconvla_ros.errors import SetupError
from reconvla_ros.msg import ActionChunk as ChunkMessage
from reconvla_ros.msg import PolicyStatus, TaskState
from reconvla_ros.nodes import convert, qos
from reconvla_ros.nodes.base import ManagedNode
from reconvla_ros.nodes.policy_inputs import PolicyInputs
from reconvla_ros.nodes.policy_status import to_diagnosis, to_status
from reconvla_ros.nodes.policy_views import PolicyViews
from reconvla_ros.nodes.process import run
from reconvla_ros.observation.assemble import AssemblyLimits, ObservationAssembler
from reconvla_ros.policy.loader import PolicyLoader, precheck
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.report import Report, Task
from reconvla_ros.policy.settings import PolicyConfig
from reconvla_ros.policy.worker import CONFIRM, PolicyWorker, WorkerRules
from reconvla_ros.types import ActionChunk

_PAUSE = 0.2  # [s] for the inference under way when the node is deactivated; its chunk is dropped in any case
_END = 3.0  # [s] for the same, or for the block of a checkpoint that is being read, when the policy is given back
RANDOM_WARNING = "the checkpoint holds RANDOM weights: the arm will move without aim, inside its limits"


class PolicyNode(ManagedNode):
    """Wires a policy to the graph."""

    def __init__(self) -> None:
        super().__init__("policy", PolicyConfig)
        self._loader: PolicyLoader | None = None
        self._worker: PolicyWorker | None = None
        self._about, self._task = {"checkpoint": str(self.config.checkpoint)}, Task()
        limits = AssemblyLimits(self.config.max_image_age, self.config.max_skew, self.config.max_state_age)
        self._assembler = ObservationAssembler(limits)
        heed = (self._poke, self._on_task, self._on_refusal, self._on_silence)
        self._inputs = PolicyInputs(self, self._assembler, *heed)
        self._chunk = self.publish_on(ChunkMessage, "policy/action_chunk", qos.COMMAND)
        self._views = PolicyViews(self)
        self._status = self.publish_on(PolicyStatus, "policy/status", qos.STATUS)
        self.create_service(Trigger, CONFIRM, self._on_confirm)
        self.create_timer(1.0 / self.config.status_rate, self.publish_status)

    @property
    def _policy(self) -> Policy | None:
        return self._loader.policy if self._loader is not None else None

    def setup(self) -> None:
        """Check what can be checked at once, and begin to load."""
        if self._worker is not None and not self._worker.stop(0.0):
            raise SetupError("policy: an inference of before still hangs; remedy: restart this process")
        precheck(self.config)
        self._worker = None
        self._inputs.open(self.config.images)
        self._loader = PolicyLoader(self.config, self.get_logger().info, self._wake)
        self._loader.start()

    def _wake(self) -> None:
        """In the loader's thread: what is to be done is done in the executor (one of events takes no guard condition)."""
        if self.executor is not None:
            self.executor.create_task(self._on_loaded)

    def _on_loaded(self) -> None:
        """In the executor, when the loader has ended; nothing may be raised there: it would take the process down."""
        try:
            self._take_over()
        except Exception as error:
            self.get_logger().fatal(f"the policy cannot be put to work: {type(error).__name__}: {error}")

    def _take_over(self) -> None:
        """Put the loaded policy to work, or say why there is none."""
        log, loader = self.get_logger(), self._loader
        if loader is None or self._worker is not None or loader.state[0] not in ("IDLE", "FAULT"):
            return  # what woke us belongs to a load that was given up
        policy, self._about = loader.policy, loader.about
        if policy is None:
            log.error(f"no policy: {loader.state[1]}; every task is refused until it is configured anew")
            self.publish_status()
            return
        if self._about["kind"] == "random":
            log.warning(RANDOM_WARNING)
        c, now = self.config, self.get_clock()
        rules = WorkerRules(c.rate, c.duty, c.inference_timeout, True, c.confidence)
        self._worker = PolicyWorker(
            policy,
            self._inputs.observe,
            self._deliver,
            lambda: now.now().nanoseconds,
            rules=rules,
            blind=self._inputs.blind,
        )
        log.info("{checkpoint} ({kind}) on {device} {dtype}, contract {digest}".format(**self._about))
        if self.active:
            self.start()
        self.publish_status()

    def start(self) -> None:
        """Begin to work for tasks; while it loads, as soon as it is ready."""
        if self._worker is not None:
            self._worker.start()
            self._worker.set_task(self._task)

    def stop(self) -> None:
        """Rest; the chunk that is being inferred is dropped, and not waited for when it takes long."""
        if self._worker is not None:
            self._worker.stop(_PAUSE)

    def close(self) -> None:
        """Give the policy back; one that still loads gives up."""
        self._inputs.close()
        if self._worker is not None and self._worker.stop(_END):
            self._worker = None
        loaded = self._loader is None or self._loader.cancel(_END)
        self.abandoned |= not loaded or self._worker is not None
        if self.abandoned:
            self.get_logger().error(
                f"the policy's thread does not end: {'it loads' if not loaded else 'inference hangs'}"
            )
        self._loader, self._views.chunk, self._task = None, None, Task()

    def _poke(self) -> None:
        if self._worker is not None:
            self._worker.poke()

    def _on_refusal(self) -> None:
        if self._worker is not None:
            self._worker.forget_chunk()

    def _on_task(self, message: TaskState) -> None:
        self._task = Task(message.task_id, message.instruction) if message.state == "RUNNING" else Task()
        if self._worker is not None and self.active:
            self._worker.set_task(self._task)

    def _on_confirm(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        worker = self._worker
        response.success, response.message = worker.confirm() if worker else (False, "no policy is loaded")
        return response

    def _deliver(self, chunk: ActionChunk) -> None:
        """In the worker's thread: one chunk and its views for people."""
        self._chunk.publish(convert.to_chunk(chunk))
        self._views.show(chunk, self._policy)

    def _on_silence(self, why: str) -> None:
        """A camera has gone silent: nobody sees any more what the chunk in force leads to, so it is taken back."""
        if (chunk := self._views.chunk) is None:
            return
        self._views.chunk = None
        self._chunk.publish(convert.to_withdrawal(chunk, self.get_clock().now().nanoseconds))
        self._on_refusal()
        self.get_logger().warning(f"{why}; the chunk in force is taken back, the arm holds")

    def _report(self) -> Report:
        if self._worker is not None:
            return self._worker.report
        return Report(*self._loader.state) if self._loader is not None else Report("LOADING", "not configured")

    def publish_status(self) -> None:
        """policy/status, while the node is active; a task is not given to a policy that loads or failed to."""
        self._status.publish(to_status(self._report(), self._about, self.get_clock().now().to_msg()))

    def diagnose(self) -> tuple[bytes, str, dict[str, object]]:
        """State, counts and stage times [s], and why no more was joined; also while the node is inactive."""
        level, text, values = to_diagnosis(self._report(), self._about, self.config.duty)
        level, text, values = self._inputs.with_clock(level, text, values)
        joined = getattr(self._policy, "joined", None)
        return level, text, values if joined is None else {**values, "not_joined": joined.reason}


def main() -> int:
    """Entry of the executable."""
    return run(PolicyNode)


if __name__ == "__main__":
    sys.exit(main())
