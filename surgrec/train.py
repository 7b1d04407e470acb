"""Pretrain a video encoder on surgical footage.

    python -m surgrec.train +variant=jepa +experiment=quickstart            # minutes, on a corpus that it synthesises
    python -m surgrec.train +variant=mae mix.manifests=[corpus.parquet]     # the published recipe on your footage
    torchrun --standalone --nproc-per-node 8 -m surgrec.train +variant=jepa mix.manifests=[corpus.parquet] runtime=ddp

The same command continues an interrupted run. In: a configuration. Out: a run folder. Read next: surgrec/training/loop.py.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import hydra
from hydra.errors import HydraException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from surgrec.config import schema
from surgrec.config.compose import CONFIGS, claim_folder, distance_from_variant, one_sentence, typed
from surgrec.config.schema import Config
from surgrec.core.console import STATUS_INTERRUPTED, STATUS_OK, run_command
from surgrec.core.errors import UserError


def train(config: Config) -> int:
    """Run the configured pretraining in this process; returns the exit status."""
    from surgrec.config.build import (
        build_run,
        build_runtime,
        run_folder,
    )  # torch is loaded only once the options are right
    from surgrec.training.loop import pretrain

    check_footage(config)
    runtime = build_runtime(config)
    try:
        if runtime.is_first:
            provide_footage(config)
            claim_folder(config, run_folder(config).config_file)
            announce(config)
        runtime.barrier()
        stopped_by = pretrain(build_run(config, runtime))
        if runtime.is_first:
            say_what_next(config, run_folder(config).path, stopped_by)
    finally:
        runtime.close()
    return STATUS_INTERRUPTED if stopped_by else STATUS_OK


def check_footage(config: Config) -> None:
    """Resolve `mix.manifests`: what was given, or the embedded corpus where the configuration names one."""
    if not config.mix.manifests and not config.mix.embedded:
        raise UserError(
            "there is nothing to train on; give mix.manifests=[corpus.parquet] (written by `surgrec index`), "
            "or add +experiment=quickstart to train on a synthesised corpus"
        )
    if not config.mix.manifests:
        config.mix.manifests = [str(Path(config.paths.embedded) / str(config.mix.embedded) / "manifest.parquet")]


def provide_footage(config: Config) -> None:
    """Synthesise the embedded corpus where it is asked for and not there."""
    if (
        config.mix.embedded
        and Path(config.mix.manifests[0]).parent == Path(config.paths.embedded) / config.mix.embedded
    ):
        from surgrec.synthetic.corpus import synthesize

        synthesize(Path(config.mix.manifests[0]).parent, config.mix.embedded, seed=0, num_workers=os.cpu_count() or 1)


def announce(config: Config) -> None:
    """Say once how this run departs from its variant."""
    distance = distance_from_variant(config)
    name = {"mae": "SurgRec-MAE", "jepa": "SurgRec-JEPA"}[config.variant]
    print(f"{name} " + (f"except {', '.join(distance)}" if distance else "as published"), file=sys.stderr, flush=True)


def say_what_next(config: Config, folder: Path, stopped_by: str | None) -> None:
    """Where the results are, and the next command."""
    if stopped_by:
        print(f"stopped by {stopped_by}; saved in {folder / 'checkpoints'}. The same command continues.")
        return
    print(
        f"done: {config.trainer.steps} steps\n"
        f"  checkpoint  {folder / 'checkpoints' / (folder / 'checkpoints' / 'latest').read_text().strip()}\n"
        f"  pictures    {folder / 'previews'}\n"
        f"  metrics     {folder / 'metrics.jsonl'}\n"
        f"next:\n"
        f"  surgrec export --run {folder} --out {folder}-release\n"
        f"  surgrec extract --model {folder}-release --videos YOUR_VIDEOS --out features"
    )


@hydra.main(config_path=str(CONFIGS.resolve()), config_name="config", version_base="1.3")
def application(composed: DictConfig) -> int:
    """What Hydra calls with the composed configuration."""
    status = run_command(lambda: train(typed(composed)))
    if status:
        sys.exit(status)
    return status


def main() -> int:
    """Entry point of `surgrec train` and `python -m surgrec.train`."""
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that a wrong option reaches us, to be told in one sentence
    schema.register()

    def compose_and_train() -> int:
        try:
            return application() or STATUS_OK
        except (HydraException, OmegaConfBaseException) as error:
            raise UserError(one_sentence(error)) from error

    return run_command(compose_and_train)


if __name__ == "__main__":
    sys.exit(main())
