"""ReconVLA as a policy: observation in, chunk of absolute TCP targets out."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from reconvla_ros.errors import TokenGateError
from reconvla_ros.model.decode import Decoded
from reconvla_ros.model.engine import Engine, Mechanisms
from reconvla_ros.model.images import stitch, tower_pixels
from reconvla_ros.model.model import Loaded, load_model, pick_device, pick_dtype
from reconvla_ros.model.prompt import IMAGE_ID, prompt_ids
from reconvla_ros.model.tokens import ActionCodec
from reconvla_ros.policy.actions import gripper_action_of, state_vector, to_targets
from reconvla_ros.policy.certainty import Certainty
from reconvla_ros.policy.contract import AXES, Contract, load_contract
from reconvla_ros.policy.joining import Joined, join
from reconvla_ros.policy.overlay import paint
from reconvla_ros.policy.protocol import Plan
from reconvla_ros.policy.settings import PREFIXES, PolicyConfig
from reconvla_ros.types import ActionChunk, ArmState, Float, Observation, Pose

STAGES = ("preprocess", "vision", "prefill", "decode")


class _Clock:
    """Stage times [s]; waits for a GPU to finish before reading the clock."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._last = time.monotonic()
        self.stages: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """End `stage` now."""
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        now = time.monotonic()
        self.stages[stage] = now - self._last
        self._last = now


@dataclass(frozen=True)
class Options:
    """How the policy decodes.

    Attributes:
        mechanisms: see model.engine; the answers are the same but for `weights`.
        prefix: "auto" or "off": whether the steps that are committed already are forced upon the model.
        require_end: refuse an answer that does not end after its action tokens (one more step).
        attention: keep the attention of the last prompt position over the image.
        attention_layer: decoder layer it is taken from; -1 = the one at two thirds of the depth.
    """

    mechanisms: Mechanisms = field(default_factory=Mechanisms)
    prefix: str = PREFIXES[0]
    require_end: bool = False
    attention: bool = True
    attention_layer: int = -1


def options_of(config: PolicyConfig) -> Options:
    """The options that the parameters name."""
    return Options(config.mechanisms, config.prefix, config.require_end, config.attention, config.attention_layer)


class ReconVlaPolicy:
    """A loaded checkpoint behind the policy protocol; not for use by two threads at once.

    The confidence of a step is the smallest, over its seven tokens, of the softmax probability that the token taken
    has among all action ids.

    Attributes:
        engine: what answers its prompts.
        joined: what the last answer took over from the chunk before it.
    """

    def __init__(self, loaded: Loaded, contract: Contract, options: Options | None = None) -> None:
        contract.check_tokenizer(loaded.tokenizer)
        self.loaded, self.contract, self.options = loaded, contract, options or Options()
        self.codec = ActionCodec(contract.vocab_base, contract.bins)
        end = loaded.tokenizer.end_id if self.options.require_end else None
        self.engine = Engine(
            loaded.model, self.codec, contract.tokens, self.options.mechanisms, end, self._watch_layer()
        )
        self.joined = Joined()
        self._sequence = 0
        self._gripper_action: float | None = None
        self._timings: dict[str, float] = {}
        self._attention: NDArray[np.float32] | None = None
        self._canvas: NDArray[np.uint8] | None = None
        self._certainty: Certainty | None = None
        self._passes = 0

    @classmethod
    def from_checkpoint(
        cls,
        folder: Path,
        device: str = "auto",
        dtype: str = "auto",
        options: Options | None = None,
        progress: Callable[[int, int], None] | None = None,
    ) -> ReconVlaPolicy:
        """Load contract and weights of `folder`.

        Raises:
            CheckpointError, ContractError: what is wrong with the folder.
            ConfigError: a device or dtype that is not to be had here.
        """
        place = pick_device(device)
        kind = pick_dtype(dtype, place)
        if folder.is_dir():
            contract = load_contract(folder)
            loaded = load_model(folder, place, kind, contract.vision_heads, progress)
        else:
            loaded = load_model(folder, place, kind)  # raises, naming the folder
            contract = load_contract(folder)
        return cls(loaded, contract, options)

    @property
    def timings(self) -> dict[str, float]:
        """Stages of the last answer [s]: preprocess, vision, prefill, decode."""
        return dict(self._timings)

    @property
    def certainty(self) -> Certainty | None:
        """How sure the last answer was of each step; None before the first."""
        return self._certainty

    @property
    def passes(self) -> int:
        """Forward passes of the decoder after the prefill, last answer."""
        return self._passes

    @property
    def attention(self) -> NDArray[np.float32] | None:
        """Attention of the last prompt position over the image (27, 27), summing to 1; None before the first answer."""
        return self._attention

    def overlay(self) -> NDArray[np.uint8] | None:
        """What the model was shown (334, 334, 3) with its attention in red; None before the first answer."""
        if self._attention is None or self._canvas is None:
            return None
        return paint(self._canvas, self._attention)

    def reset(self) -> None:
        """A new task begins: the last gripper action is taken from the measured opening again."""
        self._gripper_action = None

    def warm_up(self) -> None:
        """Answer black images; changes no state but the timings.

        On a GPU with every number of forced steps: each has shapes of its own, and the first time of a shape is slow.
        What these weights say to such a picture is not judged.
        """
        black = np.zeros((480, 640, 3), np.uint8)
        anchor = Pose(np.array([0.3, 0.0, 0.25]), np.array([0.0, 0.0, 0.0, 1.0]))
        arm = ArmState(0, np.zeros(6), np.zeros(6), np.zeros(6), 0.0)
        made_up = Observation(0, black, black, arm, anchor, "warm up", "")
        for joined in self.rehearsals(self.loaded.model.device.type == "cuda"):
            with contextlib.suppress(TokenGateError):
                self._answer(made_up, joined, _Clock(self.loaded.model.device))

    def rehearsals(self, all_of_them: bool) -> list[Joined]:
        """What warming up joins: nothing, and, if wanted, a chunk that stands still, after 0 .. T-1 forced steps."""
        steps = self.contract.chunk_steps
        still = tuple(int(i) for i in self.codec.encode(np.zeros(steps * AXES)))
        return [Joined(), *(Joined(still, forced) for forced in range(steps if all_of_them else 0))]

    def infer(self, observation: Observation, plan: Plan | None = None) -> ActionChunk:
        """One chunk for one observation; with a plan it joins the chunk before.

        Raises:
            TokenGateError: the answer is not exactly the action tokens asked for.
            ReconVlaError: an instruction that pushes the image out of the prompt.
        """
        clock, c, joined = _Clock(self.loaded.model.device), self.contract, Joined()
        if plan is not None and plan.previous.task_id == observation.task_id:
            force = self.options.prefix == "auto"
            joined = join(plan, observation.stamp_ns, observation.tcp, c, self.codec, force)
        decoded = self._answer(observation, joined, clock)
        values = self.codec.decode(decoded.ids).reshape(c.chunk_steps, AXES)
        positions, quaternions, gripper = to_targets(values, observation.tcp, c)
        self._gripper_action = gripper_action_of(float(gripper[-1]), c)
        self._certainty = Certainty.of_tokens(decoded.probability, decoded.margin, decoded.entropy, c.chunk_steps)
        self._passes, self.joined = decoded.passes, joined
        chunk = ActionChunk(
            stamp_ns=observation.stamp_ns,
            task_id=observation.task_id,
            sequence=self._sequence,
            step_dt=plan.step_dt if plan is not None and joined.forced else 1.0 / c.rate,
            anchor=observation.tcp,
            positions=positions,
            quaternions=quaternions,
            gripper=gripper,
            confidence=self._certainty.probability,
            token_ids=decoded.ids,
            prefix_steps=joined.forced,
        )
        self._sequence += 1
        return chunk

    def state_ids(self, observation: Observation) -> list[int]:
        """The proprioceptive state as action ids."""
        c = self.contract
        action = self._gripper_action
        if action is None:
            action = gripper_action_of(observation.state.gripper, c)
        state: Float = state_vector(observation.state, observation.tcp, action, c)
        return [int(i) for i in self.codec.encode_state(state, c.state_mean, c.state_std)]

    @torch.inference_mode()
    def _answer(self, observation: Observation, joined: Joined, clock: _Clock) -> Decoded:
        model, tokenizer, c = self.loaded.model, self.loaded.tokenizer, self.contract
        canvas = stitch(observation.base, observation.wrist, c.heights)
        image = torch.from_numpy(tower_pixels(canvas, model.config.vision.image_size))
        ids = prompt_ids(tokenizer, observation.instruction, self.state_ids(observation), c.prompt)
        clock.lap("preprocess")
        features = self.engine.encode_image(image)
        clock.lap("vision")
        decoded = self.engine.answer(ids, features, joined.prefix, joined.draft, clock.lap)
        if decoded.attention is not None:
            start, side = ids.index(IMAGE_ID), model.config.vision.side
            weights = decoded.attention[start : start + side * side].view(side, side)
            self._canvas = canvas
            self._attention = (weights / weights.sum().clamp_min(1e-12)).cpu().numpy()
        self._timings = clock.stages
        return decoded

    def _watch_layer(self) -> int:
        layers = self.loaded.model.config.language.layers
        if not self.options.attention:
            return -1
        chosen = self.options.attention_layer
        return chosen if 0 <= chosen < layers else (2 * layers) // 3
