"""`reconvla bench policy`: the policy beside its peers and the machine's limits; needs no ROS and no environment of ours."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from reconvla_ros.bench.policy_bench import BENCHES, SIZES
from reconvla_ros.cli.network import free_domain
from reconvla_ros.cli.places import middleware_environment


def add(benches: Any, write: Callable[[Path, object], None]) -> None:
    """Register the sub-command; `write` puts a result into a file."""
    parser = benches.add_parser(
        "policy", help="the policy beside the original's loop, its own parts and the machine's limits"
    )
    parser.add_argument("--json", type=Path, help="write the result here")
    parser.add_argument("--plot", type=Path, help="draw the result into this picture (needs matplotlib)")
    parser.add_argument("--only", default="", help=f"some of them, with commas [{','.join(BENCHES)}]")
    parser.add_argument("--rounds", type=int, default=7, help="measurements of each side [7]")
    parser.add_argument("--size", choices=("auto", *SIZES), default="auto", help="of the random weights [auto]")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N [auto]")
    parser.add_argument("--dtype", default="auto", help="auto, float32, bfloat16 or float16 [auto]")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads of the network [1]")
    parser.add_argument("--seed", type=int, default=0, help="of weights and inputs [0]")
    parser.set_defaults(run=lambda options: run(options, write))


def run(options: argparse.Namespace, write: Callable[[Path, object], None]) -> int:
    """0 = every bound that was measured is kept, 1 = not."""
    from reconvla_ros.bench import policy_bench

    names = policy_bench.pick(options.only)
    settings = policy_bench.Settings(
        options.rounds, options.size, options.device, options.dtype, options.threads, options.seed
    )
    settings = policy_bench.settle(settings)
    if options.plot:
        from reconvla_ros.bench.policy_plot import require

        require(options.plot)  # a missing library is known before the work, not after
    if options.json:
        write(options.json, {})  # a path that cannot be written is known before the work, not after
    # For the benches that send over DDS: room for images, and a domain of their own.
    os.environ |= middleware_environment()
    os.environ |= {"ROS_DOMAIN_ID": str(free_domain()), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}
    result = policy_bench.run(names, settings, policy_bench.show)
    if options.json:
        write(options.json, result)
    if options.plot:
        from reconvla_ros.bench.policy_plot import draw

        draw(result, options.plot)
    print(policy_bench.table(result))
    return 0 if policy_bench.kept(result) else 1
