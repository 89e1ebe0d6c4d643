"""Where a run computes: one device with torch alone, or several through accelerate (copies, or shares by FSDP)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from reconvla_ros.errors import ConfigError, SetupError
from reconvla_ros.model.model import pick_device
from reconvla_ros.training.recipe import Recipe

LAYER = "Qwen2DecoderLayer"
"""What FSDP shares out one by one."""

State = dict[str, Any]


class OneDevice:
    """A single process and device; nothing but torch is needed."""

    rank, world = 0, 1

    def __init__(self, recipe: Recipe) -> None:
        self.device, self.recipe = pick_device(recipe.device), recipe

    @property
    def main(self) -> bool:
        """Whether this process writes and speaks."""
        return self.rank == 0

    def prepare(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Both as they are used from now on."""
        return network.to(self.device), optimizer

    @contextlib.contextmanager
    def arithmetic(self) -> Iterator[None]:
        """bfloat16 where the recipe says so; norms, softmax and losses stay float32."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.dtype == "bfloat16"):
            yield

    @contextlib.contextmanager
    def gather(self, network: nn.Module, last: bool) -> Iterator[None]:
        """Around a micro-batch; gradients of several devices meet at the `last` one of a step."""
        yield

    def backward(self, loss: Tensor) -> None:
        """Gradients of a micro-batch."""
        loss.backward()

    def clip(self, network: nn.Module, most: float) -> float:
        """Norm of the gradient, which is cut to `most` (0 = not)."""
        held = [p for p in network.parameters() if p.grad is not None]
        return float(nn.utils.clip_grad_norm_(held, most or float("inf")))

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a small tensor over all processes; every process calls it."""
        return values

    def any(self, flag: bool) -> bool:
        """Whether any process says so; every process calls it."""
        return flag

    def states(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[State, State]:
        """Whole state of network and optimiser on the CPU, optimiser by names; every process calls it."""
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            get_model_state_dict,
            get_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, cpu_offload=True)
        return get_model_state_dict(network, options=options), get_optimizer_state_dict(
            network, optimizer, options=options
        )

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, weights: State, moments: State) -> None:
        """The inverse of `states`; `weights` may hold a part of the network."""
        from torch.distributed.checkpoint.state_dict import (
            StateDictOptions,
            set_model_state_dict,
            set_optimizer_state_dict,
        )

        options = StateDictOptions(full_state_dict=True, strict=False, broadcast_from_rank0=self.world > 1)
        set_model_state_dict(network, weights, options=options)
        set_optimizer_state_dict(network, optimizer, moments, options=options)

    def memory(self) -> int:
        """Most bytes that were held so far: by tensors on a GPU, by the process on a CPU."""
        if self.device.type == "cuda":
            return int(torch.cuda.max_memory_allocated(self.device))
        import resource

        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024

    def close(self) -> None:
        """End what was begun with others."""


class ManyDevices(OneDevice):
    """One process a device, started by ``torchrun`` or ``accelerate launch``."""

    def __init__(self, recipe: Recipe) -> None:
        try:
            from accelerate import Accelerator, FullyShardedDataParallelPlugin
            from accelerate.utils import DistributedDataParallelKwargs
        except ImportError as error:
            raise SetupError(
                f"several devices need accelerate: pip install -r requirements/train.txt ({error})"
            ) from error
        plugin = None
        if recipe.sharding == "full":
            # Shares stay in the master type and autocast computes: the same arithmetic as on one device.
            plugin = FullyShardedDataParallelPlugin(
                fsdp_version=2, auto_wrap_policy="transformer_based_wrap", transformer_cls_names_to_wrap=[LAYER],
                state_dict_type="FULL_STATE_DICT", reshard_after_forward=True, cpu_ram_efficient_loading=False,
            )  # fmt: skip
        self._accelerator = Accelerator(
            cpu=recipe.device == "cpu", fsdp_plugin=plugin, mixed_precision="no",
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )  # fmt: skip
        if plugin is not None and self._accelerator.device.type == "cpu":
            raise ConfigError(
                "recipe: sharding full needs GPUs (accelerate shares out there alone); --set sharding=none makes copies"
            )
        self.device, self.recipe = self._accelerator.device, recipe
        self.rank, self.world = self._accelerator.process_index, self._accelerator.num_processes

    def prepare(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[nn.Module, torch.optim.Optimizer]:
        """Both as they are used from now on."""
        made = self._accelerator.prepare(network, optimizer)
        return made[0], made[1]

    @contextlib.contextmanager
    def gather(self, network: nn.Module, last: bool) -> Iterator[None]:
        """Around a micro-batch; gradients of several devices meet at the `last` one of a step."""
        if last:
            yield
            return
        with self._accelerator.no_sync(network):
            yield

    def backward(self, loss: Tensor) -> None:
        """Gradients of a micro-batch."""
        self._accelerator.backward(loss)

    def clip(self, network: nn.Module, most: float) -> float:
        """Norm of the gradient, which is cut to `most` (0 = not)."""
        norm: Any = self._accelerator.clip_grad_norm_(network.parameters(), most or float("inf"))
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)

    def mean(self, values: Tensor) -> Tensor:
        """Mean of a small tensor over all processes; every process calls it."""
        found: Tensor = self._accelerator.reduce(values.to(self.device), reduction="mean")
        return found

    def any(self, flag: bool) -> bool:
        """Whether any process says so; every process calls it."""
        return bool(self.mean(torch.tensor(float(flag))) > 0)

    def states(self, network: nn.Module, optimizer: torch.optim.Optimizer) -> tuple[State, State]:
        """Whole state of network and optimiser on the CPU, optimiser by names; every process calls it."""
        return super().states(network, self._plain(optimizer))

    def restore(self, network: nn.Module, optimizer: torch.optim.Optimizer, weights: State, moments: State) -> None:
        """The inverse of `states`; `weights` may hold a part of the network."""
        super().restore(network, self._plain(optimizer), weights, moments)

    def _plain(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        inner: torch.optim.Optimizer = getattr(optimizer, "optimizer", optimizer)
        return inner

    def close(self) -> None:
        """End what was begun with others."""
        self._accelerator.end_training()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def pick_devices(recipe: Recipe) -> OneDevice:
    """One process, or one of several: what the launcher's variables say.

    Raises:
        ConfigError: a device that is not there.
        SetupError: several devices without accelerate.
    """
    return ManyDevices(recipe) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else OneDevice(recipe)
