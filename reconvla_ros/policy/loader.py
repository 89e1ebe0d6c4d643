"""Loads a policy in a thread of its own: says how far it is, can be told to give up, and warms the policy up.

A 7B checkpoint takes a minute; callbacks, status and diagnostics go on meanwhile. What can be told at once about a
wrong checkpoint or device is told by `precheck`, before anything is started.
"""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path

import torch

from reconvla_ros.errors import ReconVlaError
from reconvla_ros.model.checkpoint import Hooks, Loading, list_tensors
from reconvla_ros.model.hub import is_hub_id
from reconvla_ros.model.model import pick_device, pick_dtype
from reconvla_ros.policy.factory import DEMO, WITHOUT_WEIGHTS, contract_of, describe, open_policy
from reconvla_ros.policy.protocol import Policy
from reconvla_ros.policy.settings import PolicyConfig


def precheck(config: PolicyConfig) -> None:
    """What can be said in milliseconds: device, dtype, folder, headers of the shards, contract.

    Raises:
        ConfigError, CheckpointError, ContractError: as `open_policy` would say it later.
    """
    if config.policy in WITHOUT_WEIGHTS:
        return
    pick_dtype(config.dtype, pick_device(config.device))
    if config.checkpoint == DEMO or is_hub_id(config.checkpoint):
        return
    folder = Path(config.checkpoint).expanduser()
    list_tensors(folder)
    contract_of(folder, config)


class PolicyLoader:
    """One load of one policy.

    Args:
        config: validated parameters; `precheck` has passed.
        say: gets a line for the log now and then, in the loader's thread.
        done: called in the loader's thread when it is over, however it ended; not after `cancel`.
        opener: instead of `factory.open_policy`, for tests.

    Attributes:
        about: what `factory.describe` says, once it is loaded.
    """

    def __init__(
        self,
        config: PolicyConfig,
        say: Callable[[str], None],
        done: Callable[[], None],
        opener: Callable[..., Policy] = open_policy,
    ) -> None:
        self._config, self._say, self._done, self._open = config, say, done, opener
        self._lock = threading.Lock()
        self._state, self._reason = "LOADING", ""
        self._policy: Policy | None = None
        self._canceled = threading.Event()
        self._quarter = 0
        self.about: dict[str, str] = {"checkpoint": config.checkpoint}
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    @property
    def state(self) -> tuple[str, str]:
        """(LOADING, WARMING_UP, IDLE or FAULT; how far, or why)."""
        with self._lock:
            return self._state, self._reason

    @property
    def policy(self) -> Policy | None:
        """Loaded and warm; None before that, after a failure and after `cancel`."""
        with self._lock:
            return self._policy if self._state == "IDLE" else None

    def start(self) -> None:
        """Begin; returns at once."""
        self._thread.start()

    def cancel(self, timeout: float = 10.0) -> bool:
        """Give up and let go of what was loaded; True when the thread is gone within `timeout` [s]."""
        self._canceled.set()
        if self._thread.ident is not None:
            self._thread.join(timeout)
        with self._lock:
            self._policy = None
        gc.collect()  # modules hold each other in cycles, and a second load needs the room
        if torch.cuda.is_initialized():
            torch.cuda.empty_cache()
        return not self._thread.is_alive()

    def _set(self, state: str, reason: str = "") -> None:
        with self._lock:
            self._state, self._reason = state, reason

    def _report(self, now: Loading) -> None:
        share = now.bytes / max(now.bytes_total, 1)
        words = f"{share:.0%}, {now}"
        self._set("LOADING", words)
        if int(4 * share) != self._quarter:
            self._quarter = int(4 * share)
            self._say(f"loading: {words}")

    def _run(self) -> None:
        try:
            hooks = Hooks(report=self._report, cancel=self._canceled.is_set)
            policy = self._open(self._config, self._say, hooks=hooks)
            self.about = describe(policy)
            self._set("WARMING_UP")
            if not self._canceled.is_set():
                policy.warm_up()
            with self._lock:
                self._policy, self._state, self._reason = policy, "IDLE", ""
        except ReconVlaError as error:  # Cancelled is one; nobody looks any more then
            self._set("FAULT", str(error))
        except Exception as error:  # torch and safetensors have their own; none may pass in silence
            self._set("FAULT", f"loading failed: {type(error).__name__}: {error}")
        if not self._canceled.is_set():
            self._done()
