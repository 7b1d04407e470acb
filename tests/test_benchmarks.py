"""The benchmarks run, and the two sides of that of whole steps compute the same loss; what they measure here means nothing."""

from __future__ import annotations

import importlib
import json
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from surgrec.config.compose import compose_config
from surgrec.config.traffic import parameters_of
from surgrec.core.errors import UserError
from surgrec.corpus.manifest import Manifest
from surgrec.synthesize import main as synthesize
from surgrec.synthetic import plan
from surgrec.synthetic.corpus import synthesize as render
from tests.data.conftest import write_video

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"
BY_SIZE = ("objective.head_width=null", "objective.head_depth=null", "objective.head_heads=null")


def _run(script: str, *options: object, out: Path) -> tuple[dict[str, Any], str]:
    """What it reports, for programs and for people."""
    command = [sys.executable, str(BENCHMARKS / script), *map(str, options), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (report,) = out.glob("*.json")
    return json.loads(report.read_text()), report.with_suffix(".md").read_text()


@pytest.mark.slow
def test_index(tmp_path: Path) -> None:
    sizes = ["--count", "3", "--corpus", "5", "--large-seconds", "1", "--repeats", "1"]
    content, text = _run("index.py", *sizes, "--folder", tmp_path, out=tmp_path / "out")
    assert len(content["files"]) == 3 and content["corpus"]["count"] == 5 and len(content["hashing"]) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    assert "sha256sum" in text


@pytest.mark.slow
def test_coverage(tmp_path: Path) -> None:
    few = (
        "--experiments",
        20,
        "--resamples",
        20,
        "--swaps",
        20,
        "--groups",
        10,
        "--kinds",
        "easy",
        "--kinds-of-seeds",
        "easy",
    )
    options = (*few, "--seed-effects", 0.1, "--work", tmp_path / "work")
    content, text = _run("coverage.py", *options, out=tmp_path / "out")
    assert {row["form"] for row in content["forms"]} >= {"percentile", "bootstrap-t", "ours"}
    assert all(0 <= row["held"] <= 1 and row["width"] > 0 for row in content["forms"] + content["seeds"])
    assert {row["test"] for row in content["tests"]} == {"t", "exchange"} and "7 of 7 cells" in text
    again, _ = _run("coverage.py", *options, "--done", out=tmp_path / "again")
    assert again == content


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["mae", "jepa"])
def test_release(tmp_path: Path, variant: str) -> None:
    options = ("--variant", variant, "--size", "nano", "--repeats", 1, "--folder", tmp_path)
    content, text = _run("release.py", *options, out=tmp_path / "out")
    assert [row["way"] for row in content["rows"]][:2] == ["release", "training state"]
    assert len({round(row["runs"][0]["sum"], 3) for row in content["rows"]}) == 1, "the same weights, however they come"
    assert all(row["seconds"] > 0 and row["bytes"] > 0 for row in content["rows"])
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and "peak" in text


@pytest.mark.slow
def test_onnx_equal(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime", reason="onnxruntime runs the files: pip install 'surgrec[onnx]'")
    pytest.importorskip("onnxscript")
    sizes = ["--rows", "nano:jepa:4:32", "--gains", "1", "3", "--folder", tmp_path]
    content, text = _run("onnx_equal.py", *sizes, out=tmp_path / "out")
    assert [row["gain"] for row in content["rows"]] == [1, 3]
    for row in content["rows"]:
        assert 0 < row["of_the_largest"] < 1e-5 and row["of_the_largest"] <= row["torch"] + row["onnx"] + 1e-12
        assert list(row["files"]) == ["encoder.onnx"] and row["session"]["peak_bytes"] > 0
    assert [path.name for path in tmp_path.iterdir()] == ["out"] and "matrices x 3" in text


@pytest.mark.slow
def test_speed(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the peer is transformers: pip install 'surgrec[parity]'")
    few = ("--rows", "mae-nano", "jepa-nano", "--pairs", 1, "--matrix-side", 256)
    content, text = _run("speed.py", *few, "--profile", out=tmp_path)
    rows = content["rows"]
    assert {(row["row"], row["precision"]) for row in rows} == {
        (name, precision) for name in ("mae-nano", "jepa-nano") for precision in ("fp32", "bf16")
    }
    for row in rows:
        ours, peers = row["first_losses"]  # the script itself ends where they differ
        assert ours == pytest.approx(peers, rel=1e-4 if row["precision"] == "fp32" else 2e-2)
        assert row["ours"]["kernels"] and row["ours"]["peak_gigabytes"] > 0
    assert "bf16 is" in text


@pytest.mark.slow
def test_decode(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="the peer is decord: pip install 'surgrec[decord]'")
    sizes = ["--seconds", 8, "--loops", 3, "--repeats", 2, "--folder", tmp_path / "files"]
    content, _ = _run("decode.py", *sizes, out=tmp_path / "out")
    assert len(content["goals"]) == 7 and len(content["seconds"]["b: ours, video, crop"]) == 2
    assert content["gigabytes_per_hour"]["frames"] > content["gigabytes_per_hour"]["video"] > 0


@pytest.mark.slow
def test_loader(tmp_path: Path) -> None:
    pytest.importorskip("decord", reason="the peer reads with decord: pip install 'surgrec[decord]'")
    (tmp_path / "clips").mkdir()
    write_video(tmp_path / "clips" / "one.mp4", 1, width=96, height=64)
    tiny = ["augment.crop_pixels=32", "mask.ratio=0.75", "data.num_frames=4", "optim.lr=1e-3"]
    sizes = ["--backbone", "nano", "--batch", 2, "--steps", 1, "--rounds", 1, "--override", *tiny]
    content, _ = _run("loader.py", "--clips", tmp_path / "clips", *sizes, out=tmp_path / "out")
    rows = {row["form"]: set(row["share_of_memory"]) for row in content["rows"]}
    assert rows == {
        "original": {"memory", "ours", "peer"}, "video": {"memory", "ours", "peer"}, "frames": {"memory", "ours"}
    }  # fmt: skip


@pytest.mark.slow
def test_memory_per_rank(tmp_path: Path) -> None:
    tiny = ["backbone=nano", "augment.crop_pixels=32", "backbone.patch=8", "data.num_frames=4"]
    content, _ = _run("memory_per_rank.py", "--processes", 2, *tiny, out=tmp_path)
    rows = {(row["objective"], row["strategy"]): row for row in content["rows"]}
    assert set(rows) == {(objective, strategy) for objective in ("mae", "jepa") for strategy in ("ddp", "fsdp")}
    for objective in ("mae", "jepa"):
        whole, part = rows[objective, "ddp"], rows[objective, "fsdp"]
        for name in ("parameters", "gradients", "optimiser", "target_encoder"):
            assert part[name] == pytest.approx(whole[name] / 2, rel=0.02, abs=0)
        assert whole["estimated"] == sum(
            whole[name] for name in ("parameters", "gradients", "optimiser", "target_encoder")
        )


@pytest.mark.slow
def test_scaling(tmp_path: Path) -> None:
    """What a step sends, as its collectives are called, is what the estimate counts: to the byte under DDP, but for padding under FSDP2."""
    tiny = ["backbone=nano", "augment.crop_pixels=32", "backbone.patch=8", "data.num_frames=4"]
    content, text = _run("scaling.py", "--batch", 1, "--pairs", 1, "--set", *tiny, out=tmp_path)
    rows = {(row["variant"], row["strategy"]): row for row in content["rows"]}
    assert set(rows) == {(variant, strategy) for variant in ("mae", "jepa") for strategy in ("ddp", "fsdp")}
    for (variant, strategy), row in rows.items():
        counted, formula = row["counted"], row["formula"]
        assert counted.keys() == formula.keys() == ({"all_reduced"} if strategy == "ddp" else {"gathered", "scattered"})
        config = compose_config([f"+variant={variant}", "mix.manifests=[none.parquet]", *BY_SIZE, *tiny])
        of = parameters_of(config)
        if strategy == "ddp":
            assert counted["all_reduced"] == formula["all_reduced"] == 4 * of.trained
            continue
        assert all(size <= counted[kind] <= 1.001 * size for kind, size in formula.items())
        assert row["calls"] == {"gathered": 2 * of.trained_units + of.frozen_units, "scattered": of.trained_units}
    assert "no collective is called, its share is 0" in text


@pytest.fixture(scope="module")
def surgery(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the quickstart's corpus."""
    folder = tmp_path_factory.mktemp("surgery") / "corpus"
    assert synthesize(["--out", str(folder), "--scale", "quickstart"]) == 0
    return folder


@pytest.mark.slow
def test_contamination(surgery: Path, tmp_path: Path) -> None:
    options = ["--corpus", surgery, "--copies", 11, "--draw", 1, "--scratch", tmp_path / "scratch"]
    content, text = _run("contamination.py", *options, out=tmp_path / "out")
    assert [(planted, found) for _, planted, found, _, _ in content["rows"]] == [(1, 1)] * 11
    assert not content["false_alarms"] and content["innocent_pairs"] > 100
    assert "11 copies, 11 found" in text


@pytest.mark.slow
def test_contamination_scale(surgery: Path, tmp_path: Path) -> None:
    small = ("--corpus", surgery, "--scales", 0.0005, "--test-scales", 0.05)
    content, text = _run("contamination_scale.py", *small, out=tmp_path / "out")
    (row,) = content["rows"]
    assert row["corpus_moments"] < 20_000 and row["peak_gigabytes"] > 0 and row["candidates"] > 0
    assert row["proposed"]["30 s, 0.9"] == row["proposed"]["300 s, 0.9"] == 1.0
    assert "0.0005x" in text


@pytest.mark.slow
def test_sampler(tmp_path: Path) -> None:
    few = ("--videos", 200, 2000, "--opens", 1, "--rounds", 3)
    content, text = _run("sampler.py", *few, "--folder", tmp_path, out=tmp_path / "out")
    assert [one["videos"] for one in content] == [200, 2000]
    for one in content:
        assert set(one["draws"]) == {"temperature", "hierarchical", "capped"} and len(one["peers"]) == 2
        assert one["open"] > 0 and one["workers"]["own"] < 100
    assert "2,000 videos over 200" in text
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_long_tail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # held out has longer videos of the same sources, since a window is longer than a tiny video
    monkeypatch.setitem(plan.SCALES, "longer", plan.Scale(150, 2.0, plan.SCALES["tiny"].sources))
    for name, scale, seed in (("corpus", "tiny", 0), ("held_out", "longer", 1)):
        render(tmp_path / name, scale, seed, 2)
    where = ["--corpus", tmp_path / "corpus", "--held-out", tmp_path / "held_out", "--work", tmp_path / "work"]
    shortest = ["--variants", "mae", "--seeds", 0, "--at-once", 2, "--clusters", 6, 2, "--set", "trainer.steps=2"]
    content, text = _run("long_tail.py", *where, *shortest, out=tmp_path / "out")
    rows = {(row["variant"], row["pooling"], row["part"], row["policy"]): row for row in content["rows"]}
    assert len(rows) == len(content["rows"]) == 2 * 3 * 4
    for (_, _, _, policy), row in rows.items():
        assert len(row["seeds"]) == 1 and ("gain" in row) == (policy != "natural")
        assert 0 <= row["score"][1] <= row["score"][0] <= row["score"][2] <= 1
    windows = {part: rows["mae", "mean", part, "natural"]["windows"] for part in ("all", "head", "tail")}
    assert windows["tail"] > 0 and windows["head"] + windows["tail"] < windows["all"]
    corpus = Manifest.read([tmp_path / "corpus" / "manifest.parquet"])
    hours = Counter[str]()
    for source, seconds in zip(corpus.sources.tolist(), corpus.column("duration_seconds").tolist(), strict=True):
        hours[source] += seconds
    (largest, _), (smallest, _) = hours.most_common()[0], hours.most_common()[-1]
    head, tail = text.split("Head: ")[1].split("Tail: ")
    assert largest in head and smallest in tail.split(".")[0] and smallest not in head


@pytest.mark.slow
def test_checkpoint(tmp_path: Path) -> None:
    sizes = ["--size", "nano", "--repeats", 2, "--folder", tmp_path]
    content, text = _run("checkpoint.py", *sizes, out=tmp_path / "out")
    assert [row["objective"] for row in content["rows"]] == ["mae", "jepa"] and "goal below 10 %" in text
    for row in content["rows"]:
        assert len(row["all_async_s"]) == len(row["all_sync_s"]) == 2 and row["bytes"] > 1e6
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@pytest.mark.slow
def test_extract(tmp_path: Path) -> None:
    for package in ("transformers", "decord"):
        pytest.importorskip(package, reason="the peers: pip install 'surgrec[parity,decord]'")
    sizes = ["--minutes", 0.1, "--loop-windows", 2, "--size", "tiny", "--precision", "float32"]
    content, text = _run("extract.py", *sizes, "--folder", tmp_path / "files", out=tmp_path / "out")
    assert content["windows"] == 5 and content["largest_difference"] < 1e-4  # the script itself ends where they differ
    assert content["ours"]["whole"] > content["ours"]["encoder"] > 0
    assert "in total, times faster" in text


def test_pretrained_against_random_trains_what_it_says_on_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options compose, of both variants, on a machine without a GPU too; another experiment in the same folder is refused."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    script = importlib.import_module("pretrained_against_random")
    command = ["script", "--work", str(tmp_path), "--minutes", "15", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", command)
    options = script._options()
    script._claim(options)
    script._claim(options)
    for variant in script.VARIANTS:
        run = script._run(variant, tmp_path / "manifest.parquet", options)
        config = compose_config([*run.options(3000), f"name={run.name}", f"paths.runs={run.runs}"])
        assert (config.variant, config.backbone.size, config.trainer.steps) == (variant, "small", 3000)
        assert (config.data.global_batch_size, config.runtime.accelerator) == (run.batch, "cuda") == (256, "cuda")
        assert config.objective.head_depth is None and config.optim.warmup_steps == 150
    monkeypatch.setattr(sys, "argv", [*command, "--backbone", "base"])
    with pytest.raises(UserError, match="was begun with --backbone 'small'"):
        script._claim(script._options())


@pytest.mark.slow
def test_pretrained_against_random_continues_what_was_interrupted(tmp_path: Path) -> None:
    """Interrupted while it trains, it continues the same runs, and the page has both variants, each beside its random start."""
    tiny = ["augment.crop_pixels=32", "data.num_frames=4", "trainer.log_every=1", "data.short_side_pixels=40"]
    few = ["tasks.only=[synthesised_look]", "tasks.clip_seconds=0.6", "protocols.names=[knn]", "num_seeds=1"]
    options = [
        "--minutes",
        0.05,
        "--pace-seconds",
        1,
        "--backbone",
        "nano",
        "--device",
        "cpu",
        "--batch",
        4,
        "--together",
    ]
    options += ["--scale", "tiny", "--held-out", "tiny", "--workers", 0, "--processes", 1, "--work", tmp_path / "work"]
    options += ["--train", *tiny, "--benchmark", *few]
    script = str(BENCHMARKS / "pretrained_against_random.py")
    process = subprocess.Popen([sys.executable, script, *map(str, options), "--out", str(tmp_path / "out")])
    steps, metrics = tmp_path / "work" / "steps.json", tmp_path / "work" / "runs" / "mae" / "metrics.jsonl"
    while process.poll() is None and not metrics.exists():
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(300) == 130
    planned, begun = json.loads(steps.read_text()), metrics.read_text()
    assert begun and not (tmp_path / "out").exists()

    content, text = _run("pretrained_against_random.py", *options, out=tmp_path / "out")
    assert {run["variant"]: run["steps"] for run in content["trained"]} == planned
    assert metrics.read_text().startswith(begun)
    assert all(run["minutes"] > 0 and run["clips"] == 4 * run["steps"] for run in content["trained"])
    assert {(gain["variant"], gain["low"] <= gain["difference"] <= gain["high"]) for gain in content["gains"]} == {
        ("mae", True), ("jepa", True)
    }  # fmt: skip
    assert "random initialisation of jepa" in text and "on cases of scale `tiny`" in text and str(tmp_path) not in text
