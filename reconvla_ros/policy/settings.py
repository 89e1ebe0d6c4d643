"""Parameters of the policy process; ``config/policy.yaml`` gives them, each fact is stated here."""

from __future__ import annotations

from dataclasses import dataclass

from reconvla_ros.config import param
from reconvla_ros.model.decode import HEADS
from reconvla_ros.model.model import DTYPES
from reconvla_ros.policy.contract import STITCHES


@dataclass(frozen=True)
class PolicyConfig:
    """See each parameter's description."""

    policy: str = param("reconvla", "the model, or a small circle without weights", options=("reconvla", "scripted"))
    checkpoint: str = param("demo", "folder, or owner/name[@revision] of the hub; 'demo' = random weights, made here")
    contract: str = param("", "for a checkpoint without its own: a shipped one (calvin) or a file; empty = its own")
    stitch: str = param("contract", "stitch heights: of the contract, 173/161 or 167/167", options=tuple(STITCHES))
    seed: int = param(0, "of the demo checkpoint", low=0, high=2**31 - 1)
    device: str = param("auto", "auto (a GPU when there is one), cpu, cuda or cuda:N")
    dtype: str = param("auto", "auto (bfloat16 on a GPU, float32 on a CPU) or a type", options=("auto", *DTYPES))
    threads: int = param(1, "CPU threads of the network", low=1, high=256)
    rate: float = param(2.0, "chunks per second at most", unit="Hz", low=0.01, high=50.0)
    duty: float = param(0.5, "largest share of the wall time spent in inference", low=0.01, high=1.0)
    images: str = param("raw", "what the cameras' topics carry", options=("raw", "compressed"))
    simulated: bool = param(False, "the arm is simulated; only then a contract of another embodiment may run")
    max_image_age: float = param(0.5, "an older image is not used", unit="s", low=0.02, high=5.0)
    max_skew: float = param(0.05, "most that the two cameras may be apart", unit="s", low=0.001, high=1.0)
    max_state_age: float = param(0.1, "most that arm state and image may be apart", unit="s", low=0.005, high=1.0)
    head: str = param("certified", "how the vocabulary is searched; the answers are the same", options=HEADS)
    require_end: bool = param(False, "refuse answers that do not end after their action tokens")
    attention: bool = param(True, "publish where the model looks")
    attention_layer: int = param(-1, "decoder layer of it, -1 = at two thirds of the depth", low=-1, high=1000)
    status_rate: float = param(2.0, "policy/status", unit="Hz", low=1.0, high=50.0)
