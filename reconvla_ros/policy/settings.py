"""Parameters of the policy process; ``config/policy.yaml`` gives them, each fact is stated here."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param
from reconvla_ros.model.decode import HEADS
from reconvla_ros.model.engine import DRAFTS, GRAPHS, WEIGHTS, Mechanisms
from reconvla_ros.model.model import DTYPES
from reconvla_ros.policy.certainty import ACTIONS, MEASURES, ConfidenceRule
from reconvla_ros.policy.contract import STITCHES

PREFIXES = ("auto", "off")


@dataclass(frozen=True)
class PolicyConfig:
    """See each parameter's description."""

    policy: str = param(
        "reconvla", "the model; a small circle without weights; in sim the expert that knows where things are",
        options=("reconvla", "scripted", "expert"),
    )  # fmt: skip
    sim_port: int = param(43113, "UDP port of the simulated CAN bus, for the expert", low=1024, high=65535)
    checkpoint: str = param("demo", "folder, or owner/name[@revision] of the hub; 'demo' = random weights, made here")
    contract: str = param("", "for a checkpoint without its own: a shipped one (calvin) or a file; empty = its own")
    stitch: str = param("contract", "stitch heights: of the contract, 173/161 or 167/167", options=tuple(STITCHES))
    seed: int = param(0, "of the demo checkpoint", low=0, high=2**31 - 1)
    device: str = param("auto", "auto (a GPU when there is one), cpu, cuda or cuda:N")
    dtype: str = param("auto", "auto (bfloat16 on a GPU, float32 on a CPU) or a type", options=("auto", *DTYPES))
    threads: int = param(1, "CPU threads of the network", low=1, high=256)
    rate: float = param(5.0, "chunks per second at most", unit="Hz", low=0.01, high=50.0)
    duty: float = param(0.5, "largest share of the wall time spent in inference", low=0.01, high=1.0)
    images: str = param("raw", "what the cameras' topics carry", options=("raw", "compressed"))
    simulated: bool = param(False, "the arm is simulated; only then a contract of another embodiment may run")
    max_image_age: float = param(0.5, "an older image is not used", unit="s", low=0.02, high=5.0)
    max_image_gap: float = param(
        0.4, "a camera silent for longer takes back the chunk in force: the arm holds", unit="s", low=0.05, high=5.0
    )
    max_skew: float = param(0.05, "most that the two cameras may be apart", unit="s", low=0.001, high=1.0)
    max_state_age: float = param(0.1, "most that arm state and image may be apart", unit="s", low=0.005, high=1.0)
    max_clock_offset: float = param(
        0.05,
        "a clock that is certainly further from the robot's makes ages wrong: no chunk",
        unit="s",
        low=0.001,
        high=1.0,
    )
    inference_timeout: float = param(
        5.0, "a longer inference is a fault while it lasts, and its answer is dropped", unit="s", low=0.05, high=600.0
    )
    prefix: str = param(
        PREFIXES[0], "auto: steps that are committed when a chunk arrives are forced upon the model", options=PREFIXES
    )
    low_confidence: str = param(
        ACTIONS[0],
        "about an answer that is not sure enough: nothing; slow its steps down; hold; hold until policy/confirm",
        options=ACTIONS,
    )
    confidence_measure: str = param(
        MEASURES[0], "what is compared, per step: probability, margin [logits] or entropy [nat]", options=MEASURES
    )
    confidence_threshold: float = param(
        0.5, "lowest probability or margin, highest entropy, that a step may have", low=0.0, high=100.0
    )
    slow_factor: float = param(2.0, "how much longer the steps take with low_confidence: slow", low=1.0, high=10.0)
    head: str = param("certified", "how the vocabulary is searched; the answers are the same", options=HEADS)
    draft: str = param(
        "previous", "tokens guessed ahead and verified, the answers are the same: of the previous chunk", options=DRAFTS
    )
    graphs: str = param("auto", "CUDA graphs, where there is a GPU; the answers are the same", options=GRAPHS)
    weights: str = param(
        "plain", "int8 and fp8 halve what is read per token; the answers are NOT the same", options=WEIGHTS
    )
    require_end: bool = param(False, "refuse answers that do not end after their action tokens")
    attention: bool = param(True, "publish where the model looks")
    attention_layer: int = param(-1, "decoder layer of it, -1 = at two thirds of the depth", low=-1, high=1000)
    status_rate: float = param(2.0, "policy/status", unit="Hz", low=1.0, high=50.0)

    @property
    def confidence(self) -> ConfidenceRule:
        """What to do about answers that are not sure."""
        return ConfidenceRule(self.low_confidence, self.confidence_measure, self.confidence_threshold, self.slow_factor)

    @property
    def mechanisms(self) -> Mechanisms:
        """How the engine decodes."""
        return Mechanisms(self.head, self.draft, self.graphs, self.weights)
