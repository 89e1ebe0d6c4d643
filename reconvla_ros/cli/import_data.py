"""`reconvla import`: data sets of others to ReconVLA training samples."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from reconvla_ros.cli.convert import add_common, contract_text, run
from reconvla_ros.dataset.options import Options, Place


def main(words: Sequence[str]) -> int:
    """0 = done, 2 = could not be done."""
    parser = argparse.ArgumentParser(
        "reconvla import",
        description="LeRobot v3 and BridgeData (RLDS/TFDS record files) to ReconVLA training samples.",
    )
    parser.add_argument("--from", dest="source", choices=("lerobot", "bridge"), required=True, help="what it is")
    parser.add_argument("data", type=Path, help="folder (or one .tfrecord file)")
    parser.add_argument("--episode", action="append", default=[], help="only this one; may be given again")
    add_common(parser)
    options = parser.parse_args(words)
    place = Place(options.source, options.data.expanduser().absolute(), tuple(options.episode))
    wanted = Options(contract=contract_text(options.contract), quality=options.quality)
    return run(place, wanted, options)
