"""The only wiring: a configuration becomes objects here and nowhere else.

In: a typed, composed configuration. Out: encoder, objective, masks, data path, runtime, and the `Run` that holds them; each part is built
in a file beside this one, the whole in `build_run.py`. It is its own file so that there is one place to ask, and every edge between
stages can be followed in an editor: no registry, no class names in YAML.
"""

from __future__ import annotations

from surgrec.config.build_data import (
    DataPath,
    accumulation_of,
    build_augment,
    build_clip,
    build_data,
    build_positions,
    build_preprocess,
    build_read_ahead,
    build_reader,
    left_out_sentence,
)
from surgrec.config.build_masks import build_masker, model_flops, num_levels, num_patch_values, tokens_of_masks
from surgrec.config.build_model import build_encoder, build_grid, build_head, build_objective, head_size, patch_pixels
from surgrec.config.build_run import (
    build_checkpoints,
    build_plan,
    build_probe,
    build_run,
    build_runtime,
    build_sink,
    build_watch,
    run_folder,
    say_first,
)
from surgrec.config.build_schedules import build_context_weight, build_momentum
from surgrec.config.loaded_run import LoadedRun, load_run

__all__ = [
    "DataPath",
    "LoadedRun",
    "accumulation_of",
    "build_augment",
    "build_checkpoints",
    "build_clip",
    "build_context_weight",
    "build_data",
    "build_encoder",
    "build_grid",
    "build_head",
    "build_masker",
    "build_momentum",
    "build_objective",
    "build_plan",
    "build_positions",
    "build_preprocess",
    "build_probe",
    "build_read_ahead",
    "build_reader",
    "build_run",
    "build_runtime",
    "build_sink",
    "build_watch",
    "head_size",
    "left_out_sentence",
    "load_run",
    "model_flops",
    "num_levels",
    "num_patch_values",
    "patch_pixels",
    "run_folder",
    "say_first",
    "tokens_of_masks",
]
