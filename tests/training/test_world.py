"""Any number of processes reads the same global sequence, computes the same numbers, and continues the other's checkpoints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from surgrec.core.errors import UserError
from surgrec.training.runtime import Runtime, RuntimeSpec
from tests.training.tiny import (
    ENVIRONMENT,
    POISONED,
    RECORDED,
    REPOSITORY,
    TRAIN,
    VARIANTS,
    Runs,
    Warm,
    assert_close_numbers,
    lines_of,
    metrics_of,
    overrides,
    state_of,
)

TOLERANCE = 1e-5  # of sums in another order
SIX_STEPS = ("trainer.steps=6", "trainer.checkpoint_every=100")
GLOBAL_BATCH = 8


def runtime(strategy: str, accumulation: int = 1) -> list[str]:
    """Options of a world on CPUs; `hsdp-2` is fsdp in which every two processes share a model."""
    strategy, _, shard_size = strategy.replace("hsdp", "fsdp").partition("-")
    options = [f"runtime={strategy}", "runtime.accelerator=cpu", f"runtime.accumulation={accumulation}"]
    return [*options, *([f"runtime.shard_size={shard_size}"] if shard_size else [])]


def sequence(folder: Path) -> list[list]:
    """Position, video and start of every clip that any rank read, by position."""
    return sorted(row for file in folder.glob("read_by_rank_*.jsonl") for row in lines_of(file))


@pytest.fixture(scope="module")
def alone(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run `mae` and a run `jepa` of six steps in one process, with what they read."""
    folder = tmp_path_factory.mktemp("alone")
    return Runs(
        folder,
        lambda variant: warm.run(overrides(variant, footage, folder, variant, *SIX_STEPS), program=RECORDED),
    )


def assert_same_training(folder: Path, reference: Path) -> None:
    """The same clips, each read once, and the same numbers up to rounding."""
    assert sequence(folder) == sequence(reference)
    assert [row[0] for row in sequence(folder)] == list(range(6 * GLOBAL_BATCH))
    assert_close_numbers(folder, reference, ("loss", "grad_norm"), TOLERANCE)
    exact = ("step", "lr", "weight_decay", "sources")
    mine, other = ([{key: line[key] for key in exact} for line in metrics_of(path)] for path in (folder, reference))
    assert mine == other
    assert_close_weights(folder, reference)


def assert_close_weights(folder: Path, reference: Path) -> None:
    """Learner and target encoder agree; Adam divides tiny gradients by their size, so a share of rounding noise becomes 1e-4 or so."""
    first, second = state_of(folder), state_of(reference)
    names = [name for name in first if name.startswith(("/learner", "/frozen"))]
    assert first.keys() == second.keys() and names
    for name in names:
        assert (first[name] - second[name]).abs().max() < 1e-3, name
        assert (first[name] - second[name]).abs().mean() < TOLERANCE, name


@pytest.mark.parametrize(
    ("variant", "strategy", "accumulation"),
    [
        ("mae", "ddp", 2),
        pytest.param("jepa", "fsdp", 2, marks=pytest.mark.slow),
        pytest.param("mae", "ddp", 1, marks=pytest.mark.slow),
        pytest.param("mae", "fsdp", 1, marks=pytest.mark.slow),
        pytest.param("mae", "fsdp", 2, marks=pytest.mark.slow),
        pytest.param("jepa", "ddp", 1, marks=pytest.mark.slow),
        pytest.param("jepa", "ddp", 2, marks=pytest.mark.slow),
        pytest.param("jepa", "fsdp", 1, marks=pytest.mark.slow),
        pytest.param("mae", "hsdp-2", 2, marks=pytest.mark.slow),
        pytest.param("jepa", "hsdp-1", 2, marks=pytest.mark.slow),
    ],
)
def test_two_processes_train_as_one(
    variant: str, strategy: str, accumulation: int, warm: Warm, footage: Path, alone: Runs, tmp_path: Path
) -> None:
    arguments = overrides(variant, footage, tmp_path, "two", *SIX_STEPS, *runtime(strategy, accumulation))
    said = warm.run_world(2, arguments)
    assert "Warning" not in said, said
    assert_same_training(tmp_path / "two", alone / variant)
    shares = [{row[0] for row in lines_of(tmp_path / "two" / f"read_by_rank_{rank}.jsonl")} for rank in range(2)]
    assert len(shares[0]) == len(shares[1]) == 3 * GLOBAL_BATCH and shares[0].isdisjoint(shares[1])


@pytest.mark.slow
def test_two_processes_predict_densely_as_one(warm: Warm, footage: Path, tmp_path: Path) -> None:
    dense = (
        *SIX_STEPS,
        "objective.dense=true",
        "objective.context_ramp_steps=[1,4]",
        "backbone.modality_embedding=true",
    )
    warm.run(overrides("jepa", footage, tmp_path, "one", *dense), program=RECORDED)
    for strategy in ("ddp", "fsdp"):
        said = warm.run_world(2, overrides("jepa", footage, tmp_path, strategy, *dense, *runtime(strategy, 2)))
        assert "Warning" not in said, said
        assert_same_training(tmp_path / strategy, tmp_path / "one")


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp", "hsdp-2"])
def test_four_processes_train_as_one(strategy: str, warm: Warm, footage: Path, alone: Runs, tmp_path: Path) -> None:
    warm.run_world(4, overrides("jepa", footage, tmp_path, "four", *SIX_STEPS, *runtime(strategy, 2)))
    assert_same_training(tmp_path / "four", alone / "jepa")


@pytest.mark.slow
def test_what_two_processes_saved_one_process_and_another_strategy_continue(
    warm: Warm, footage: Path, alone: Runs, tmp_path: Path
) -> None:
    """Two DDP processes, then one alone, then two that shard: each goes on from the checkpoint of the one before."""

    def command(*options: str) -> list[str]:
        return overrides("jepa", footage, tmp_path, "relay", *SIX_STEPS, *options)

    warm.run_world(2, ["--stop-after", "2", *command(*runtime("ddp"))])
    warm.run(["--stop-after", "4", *command()], program=RECORDED)
    warm.run_world(2, command(*runtime("fsdp")))
    assert_same_training(tmp_path / "relay", alone / "jepa")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_command_continues_on_fewer_processes_by_accumulating(
    variant: str, warm: Warm, footage: Path, alone: Runs, tmp_path: Path
) -> None:
    """Four processes, then two, then one: the most that one takes at once stays, and so do samples and numbers."""
    most = "runtime.device_batch_size=2"
    command = overrides(variant, footage, tmp_path, "shrinking", *SIX_STEPS, most)
    several = ["runtime=ddp", "runtime.accelerator=cpu", most]
    warm.run_world(4, ["--stop-after", "2", *command, *several])
    warm.run_world(2, ["--stop-after", "4", *command, *several])
    warm.run(command, program=RECORDED)
    assert_same_training(tmp_path / "shrinking", alone / variant)


# Small, since a world takes this long: no health but at the ends, and the fewest clips that two processes can share.
TWENTY_STEPS = (
    "trainer.steps=20",
    "trainer.checkpoint_every=100",
    "trainer.health_every=100",
    "data.global_batch_size=4",
)


@pytest.fixture(scope="module")
def twenty_under_ddp(warm: Warm, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """A run of each variant by two processes that hold the whole model each."""
    folder, world = tmp_path_factory.mktemp("twenty"), runtime("ddp")
    return Runs(
        folder,
        lambda variant: warm.run_world(2, overrides(variant, footage, folder, variant, *TWENTY_STEPS, *world), TRAIN),
    )


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "strategy"), [("mae", "fsdp"), ("jepa", "fsdp"), ("jepa", "hsdp-1")])
def test_sharded_training_with_its_average_equals_ddp_over_twenty_steps(
    variant: str, strategy: str, warm: Warm, footage: Path, twenty_under_ddp: Runs, tmp_path: Path
) -> None:
    options = overrides(variant, footage, tmp_path, "sharded", *TWENTY_STEPS, *runtime(strategy))
    warm.run_world(2, options, TRAIN)
    sharded, whole = tmp_path / "sharded", twenty_under_ddp / variant
    assert [line["step"] for line in metrics_of(sharded)] == list(range(1, 21))
    assert_close_numbers(sharded, whole, ("loss", "grad_norm"), TOLERANCE)
    assert_close_weights(sharded, whole)
    assert any(name.startswith("/frozen/target_encoder") for name in state_of(sharded)) == (variant == "jepa")


@pytest.mark.slow
@pytest.mark.parametrize("variant", VARIANTS)
def test_half_precision_in_shards_stays_as_near_to_float32_as_without_them(
    variant: str, warm: Warm, footage: Path, alone: Runs, tmp_path: Path
) -> None:
    half = "runtime.precision=bf16-mixed"
    for strategy in ("ddp", "fsdp", "hsdp-1"):
        said = warm.run_world(
            2, overrides(variant, footage, tmp_path, strategy, *SIX_STEPS, *runtime(strategy, 2), half)
        )
        assert "Warning" not in said, said
        distance = assert_close_numbers(tmp_path / strategy, alone / variant, ("loss",), 0.02)
        assert distance > 0  # it did compute in half precision


@pytest.mark.slow
def test_blocks_compiled_one_by_one_compute_the_same_in_shards(
    warm: Warm, footage: Path, alone: Runs, tmp_path: Path
) -> None:
    """Of the variant that has more to compile: encoder, target encoder and predictor."""
    compiled = ("runtime.compile=true", "runtime.activation_checkpointing=selective")
    options = overrides("jepa", footage, tmp_path, "compiled", *SIX_STEPS, *runtime("fsdp"), *compiled)
    warm.run_world(2, options, seconds=500)
    assert_same_training(tmp_path / "compiled", alone / "jepa")


@pytest.mark.slow
def test_what_two_processes_sharded_one_process_continues(
    warm: Warm, footage: Path, alone: Runs, tmp_path: Path
) -> None:
    command = overrides("mae", footage, tmp_path, "relay", *SIX_STEPS)
    warm.run_world(2, ["--stop-after", "3", *command, *runtime("fsdp")])
    warm.run(command, program=RECORDED)
    assert_same_training(tmp_path / "relay", alone / "mae")


@pytest.mark.slow
@pytest.mark.parametrize(("variant", "strategy"), [("mae", "ddp"), ("jepa", "fsdp")])
def test_torchrun_itself(variant: str, strategy: str, footage: Path, alone: Runs, tmp_path: Path) -> None:
    """The launcher of the documentation, and its world through the whole command."""
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command = overrides(variant, footage, tmp_path, "launched", *SIX_STEPS, *runtime(strategy))
    done = subprocess.run(
        [*launcher, "-m", "surgrec.train", *command],
        cwd=REPOSITORY,
        env=os.environ | ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("done: 6 steps") == 1  # said once, not by every process
    assert_close_numbers(tmp_path / "launched", alone / variant, ("loss", "grad_norm"), TOLERANCE)


# -- what ends them all


def errors_in(said: str) -> list[str]:
    return [line for line in said.splitlines() if line.startswith("error:")]


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_a_loss_that_is_none_is_told_once_with_the_videos_of_the_rank_whose_it_is(
    strategy: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    options = overrides("mae", footage, tmp_path, "poisoned", "trainer.steps=3", *runtime(strategy))
    said = warm.run_world(2, options, POISONED, status=2)
    videos = dict(json.loads(line) for line in said.splitlines() if line.startswith("["))
    assert set(videos) == {0, 1} and videos[0] != videos[1]
    (error,) = errors_in(said)
    assert "the loss of step 2 is nan" in error and "Traceback" not in said
    assert error.endswith(f"look at the videos whose loss it is: {', '.join(videos[1])}")


@pytest.mark.slow
def test_a_collapse_is_told_once(warm: Warm, footage: Path, tmp_path: Path) -> None:
    collapsing = ("objective.ema=0", "optim.lr=3e-2", "trainer.collapse_patience_steps=4", "trainer.on_collapse=stop")
    weights = ("backbone.positions=sincos_3d", "backbone.init=mimetic")
    options = overrides("jepa", footage, tmp_path, "collapsed", *collapsing, *weights, *runtime("ddp"))
    said = warm.run_world(2, options, TRAIN, status=2)
    (error,) = errors_in(said)
    assert "the features have collapsed" in error and "Traceback" not in said


# -- worlds that are none


@pytest.mark.parametrize(
    ("options", "variables", "sentence"),
    [
        (["runtime=cpu"], {"WORLD_SIZE": "2"}, "2 processes were launched, but runtime.strategy is single"),
        (["runtime.accumulation=3"], {}, "use a global batch of 6 or 9, or keep it and accumulate 1, 2, 4, 8"),
    ],
)
def test_a_world_that_cannot_be_is_one_sentence_and_status_2(
    options: list[str], variables: dict[str, str], sentence: str, warm: Warm, footage: Path, tmp_path: Path
) -> None:
    said = warm.run(overrides("mae", footage, tmp_path, "none", *options), status=2, env=variables)
    assert sentence in said and "Traceback" not in said
    assert not (tmp_path / "none" / "metrics.jsonl").exists()


@pytest.mark.parametrize(
    ("accelerator", "strategy", "precision", "sentence"),
    [
        ("cpu", "ddp", "32-true", "runtime.strategy=ddp needs a launcher, for example: torchrun"),
        ("cpu", "fsdp", "32-true", "runtime.strategy=fsdp needs a launcher, for example: torchrun"),
        ("cpu", "single", "16", "runtime.precision=16 is unknown; choose one of auto, 32-true, bf16-mixed"),
        ("tpu", "single", "32-true", "runtime.accelerator=tpu is unknown; choose auto, cpu or cuda"),
    ],
)
def test_a_runtime_that_cannot_be_is_told(
    accelerator: str, strategy: str, precision: str, sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(UserError, match=sentence):
        Runtime(RuntimeSpec(accelerator=accelerator, strategy=strategy, precision=precision))
