"""`reconvla finetune`: train a checkpoint on recorded episodes, with the reconstruction loss or without."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

from reconvla_ros.cli.places import share
from reconvla_ros.errors import ConfigError
from reconvla_ros.training.recipe import Recipe, load_recipe


def recipes() -> Path:
    """Folder of the recipes that come along."""
    return share() / "config" / "recipes"


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        "reconvla finetune",
        description="Train a checkpoint on samples of 'reconvla convert --to reconvla'. Checkpoints in OUT load as they are "
        "('reconvla up checkpoint:=OUT/step-...'), 'reconvla export' makes them small. Several GPUs: torchrun --nproc-per-node 8 "
        "-m reconvla_ros.cli.main finetune ...",
    )
    parser.add_argument("--recipe", default="", help="a name from config/recipes or a YAML file")
    parser.add_argument("--checkpoint", type=Path, help="where to start: a folder in the original layout")
    parser.add_argument(
        "--data",
        action="append",
        default=[],
        metavar="PATH[=SHARE]",
        help="samples; several are mixed, by size or by SHARE",
    )
    parser.add_argument("--out", type=Path, help="folder of the run")
    parser.add_argument(
        "--vae", type=Path, help="autoencoder in FLUX.1's layout (default: the one the checkpoint names)"
    )
    parser.add_argument("--no-reconstruction", action="store_true", help="the baseline: actions alone")
    parser.add_argument("--minutes", type=float, help="length of the run")
    parser.add_argument("--steps", type=int, help="steps of the optimiser")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="change a key of the recipe")
    parser.add_argument("--resume", action="store_true", help="go on with the run in OUT, to the same numbers")
    parser.add_argument("--plan", action="store_true", help="say what fits on this machine, and begin nothing")
    parser.add_argument("--memory", help="with --plan: assume devices of so much memory, as 24GB")
    parser.add_argument("--devices", type=int, default=0, help="with --plan: assume so many devices")
    parser.add_argument("--recipes", action="store_true", help="list the recipes")
    return parser


def data_of(words: list[str]) -> tuple[tuple[Path, float], ...]:
    """``PATH`` or ``PATH=SHARE`` -> paths and shares, all or none of them given.

    Raises:
        ConfigError: no data, a share that is not positive, some with a share and some without.
    """
    found: list[tuple[Path, float]] = []
    for word in words:
        match = re.fullmatch(r"(.+?)(?:=(\d+(?:\.\d+)?))?", word)
        assert match is not None
        found.append((Path(match[1]).expanduser(), float(match[2] or 0.0)))
        if match[2] and found[-1][1] <= 0:
            raise ConfigError(f"--data {word}: a share must be positive")
    if not found:
        raise ConfigError("--data is missing: a folder of 'reconvla convert --to reconvla', or its JSON")
    if any(w for _, w in found) and not all(w for _, w in found):
        raise ConfigError("--data: give every dataset a share (PATH=0.7) or none")
    return tuple(found)


def recipe_of(options: argparse.Namespace) -> Recipe:
    """The recipe with what the command line changes."""
    changes = dict(pair.split("=", 1) if "=" in pair else (pair, "") for pair in options.set)
    if options.no_reconstruction:
        changes["reconstruction"] = "false"
    if options.minutes is not None:
        changes |= {"minutes": str(options.minutes), "steps": "0"}
    if options.steps is not None:
        changes |= {"steps": str(options.steps), "minutes": "0"}
    return load_recipe(options.recipe, recipes(), changes)


def main(words: list[str]) -> int:
    """0 = done, 130 = called off (resumable)."""
    options = arguments().parse_args(words)
    if options.recipes:
        for path in sorted(recipes().glob("*.yaml")):
            print(f"{path.stem:<12} {path.read_text(encoding='utf-8').splitlines()[0].removeprefix('# ')}")
        return 0
    recipe = recipe_of(options)
    if (options.checkpoint is None) != recipe.fresh:
        raise ConfigError(
            "--checkpoint: the recipe begins with a fresh model, leave it out or --set fresh=false"
            if recipe.fresh
            else "--checkpoint is missing: the folder to start from ('reconvla make-checkpoint' makes a random one)"
        )
    checkpoint = None if recipe.fresh else options.checkpoint.expanduser()
    if options.plan:
        from reconvla_ros.cli.export import size_of
        from reconvla_ros.training.plan import plan

        print(plan(checkpoint, recipe, size_of(options.memory) if options.memory else 0, options.devices, options.vae))
        return 0
    data = data_of(options.data)
    if options.out is None:
        raise ConfigError("--out is missing: a folder for the run")
    from reconvla_ros.training.finetune import finetune
    from reconvla_ros.training.prepare import Job

    result = finetune(Job(checkpoint, data, options.out.expanduser(), recipe, options.vae, options.resume), _say)
    if result.interrupted:
        return 130
    best = result.progress.best_step
    if best > 0:
        print(f"best on held-out episodes: {options.out / f'step-{best:06d}'} (action loss {result.progress.best:.4f})")
    print(f"done: {result.checkpoint}; figures in {options.out / 'metrics.csv'}")
    return 0


def _say(line: str) -> None:
    print(line, flush=True)
