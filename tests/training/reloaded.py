"""A run that loads its newest checkpoint, saves what it has loaded once more, elsewhere, and then goes on.

In: overrides on the command line, the launcher's variables. Out: the run folder, and in it `reloaded/checkpoints/` with the very
state that was loaded, as this world and strategy hold it. It is its own file because it runs under launchers, outside pytest.
"""

from __future__ import annotations

import sys

from surgrec.config.build import build_run, build_runtime
from surgrec.config.compose import claim_folder, compose_config
from surgrec.training.checkpoint import Checkpoints
from surgrec.training.loop import pretrain


def main() -> int:
    """Train with the overrides of the command line."""
    config = compose_config(sys.argv[1:])
    runtime = build_runtime(config)
    run = build_run(config, runtime)
    if runtime.is_first:
        claim_folder(config, run.folder.config_file)
    progress = run.checkpoints.restore(runtime, run.trained)
    Checkpoints(run.folder.path / "reloaded" / "checkpoints", keep=1).save(runtime, run.trained, progress)
    pretrain(run)
    runtime.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
