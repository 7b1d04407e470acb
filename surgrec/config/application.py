"""What the Hydra applications (`train`, `preview`, `benchmark`) share: from the command line to a typed configuration to an exit status.

In: `sys.argv` with `key=value` options. Out: the command run, and the status of the process. It is its own file so that every
application tells a mistake in the same way: one sentence and status 2, never a traceback.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import hydra
from omegaconf import DictConfig

from surgrec.config import compose, schema
from surgrec.config.compose import typed
from surgrec.config.explain import COMPOSITION_ERRORS, one_sentence
from surgrec.config.schema import Config
from surgrec.core.console import STATUS_OK, run_command
from surgrec.core.errors import UserError


def run_application(command: Callable[[Config], int], description: str | None) -> int:
    """Compose the configuration that the command line asks for, then run `command` with it.

    Returns status 0; any other ends the process from inside Hydra (`SystemExit`). `--help` shows `description` and all options.
    """
    schema.register()
    return run_hydra(
        lambda composed: command(typed(composed)),
        compose.CONFIGS,
        description,
        one_sentence,
        compose.completed_overrides,
    )


def run_hydra(
    command: Callable[[DictConfig], int],
    configs: Path,
    description: str | None,
    sentence: Callable[[Exception], str],
    completed: Callable[[list[str]], list[str]] = list,
) -> int:
    """As `run_application`, for `config.yaml` of any tree `configs`, whose schema is registered.

    `sentence`: of an error of composing. `completed`: the options, from those of the command line.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # so that a wrong option reaches us, to be told in one sentence
    is_composed = False

    def application(composed: DictConfig) -> None:
        nonlocal is_composed
        is_composed = True
        if status := run_command(lambda: command(composed)):
            sys.exit(status)

    start = hydra.main(config_path=str(configs.resolve()), config_name="config", version_base="1.3")

    def compose_and_run() -> int:
        try:
            sys.argv[1:] = completed(sys.argv[1:])
            start(application)()
        except COMPOSITION_ERRORS as error:
            if is_composed:
                raise  # an error of ours, not of the user's options
            raise UserError(sentence(error)) from error
        return STATUS_OK

    if {"--help", "-h"} & set(sys.argv[1:]):
        print(description)
    return run_command(compose_and_run)
