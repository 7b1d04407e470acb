"""Who has only `pip install surgrec` and a folder of videos: do they get features, and are clips of one domain nearer to each other?

    python benchmarks/from_a_wheel.py --clips clips --releases mae=releases/mae jepa=releases/jepa --starts --out benchmarks/results

In: `--clips`, folders named by domain with mp4 files; releases, each with a name. Out: two tables, printed and written with date and
hardware. A wheel is built and installed with its dependencies in a fresh environment, and nothing else (`--environment` keeps it for
the next time); the clips are copied into one folder of an empty directory, and there the line of docs/extract.md is run for each release:

    surgrec extract --model RELEASE --videos videos --out features

What it wrote is compared here, with NumPy: windows abut, each clip's mean feature is over its windows, and similarity is the cosine.
`raw` takes features as they are; `centred` takes the mean over all windows of all clips from each window first, which all have in common.
`nearest`: for every window, whether the most similar window of another clip is of the same domain; windows of domains with a single clip
are not asked, but may be the answer. `chance` is what an answer drawn from those windows would score.

`--starts` adds, for each release, the same encoder with random weights: what the pictures alone, and an untrained network, make near.
Few clips decide: this is a trial of the way, and an anecdote about the encoder.
"""

from __future__ import annotations

import argparse
import datetime
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch
import zarr
from report import machine, write_result

from surgrec.core.console import progress, run_command
from surgrec.core.errors import UserError
from surgrec.hub.folder import sha256_of
from surgrec.hub.load import load_release
from surgrec.hub.release import Release, write_release
from surgrec.models.encoder import Encoder

REPOSITORY = Path(__file__).resolve().parent.parent
LINE = "surgrec extract --model {model} --videos videos --out {out}"
WHERE = "import surgrec; print(surgrec.__file__)"
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Clip:
    """A clip and its features, one row a window: float64 (n, D)."""

    name: str
    domain: str
    features: Floats


def install(folder: Path) -> Path:
    """The scripts of an environment in `folder` that has surgrec from a wheel with its dependencies, and no extra; made unless it is there
    from this very wheel."""
    shutil.rmtree(folder / "wheel", ignore_errors=True)
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder / "wheel")]
    subprocess.run(build, cwd=REPOSITORY, check=True, capture_output=True)
    (wheel,) = (folder / "wheel").glob("surgrec-*.whl")
    scripts, there = folder / "environment" / "bin", folder / "environment" / "surgrec.sha256"
    if not there.is_file() or there.read_text() != sha256_of(wheel):
        venv.create(folder / "environment", clear=True, with_pip=True, symlinks=True)
        subprocess.run([scripts / "pip", "install", "--quiet", str(wheel)], cwd=folder, env=alone(scripts), check=True)
        there.write_text(sha256_of(wheel))
    where = subprocess.run(
        [scripts / "python", "-c", WHERE], cwd=folder, env=alone(scripts), check=True, capture_output=True, text=True
    )
    if not Path(where.stdout.strip()).is_relative_to(folder / "environment"):
        raise RuntimeError(f"surgrec comes from {where.stdout.strip()} and not from the wheel")
    return scripts


def alone(scripts: Path) -> dict[str, str]:
    """The variables of a process that knows of no other Python, and that asks no hub."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return kept | {"PATH": f"{scripts}{os.pathsep}{os.defpath}", "HF_HUB_OFFLINE": "1"}


def random_start(release: Path, out: Path) -> Path:
    """A release of the same architecture and preprocessing whose weights are drawn anew."""
    found = load_release(release)
    torch.manual_seed(0)
    encoder = Encoder(**found.encoder.architecture)
    write_release(Release(encoder, None, found.preprocess, found.config["variant"], found.config["objective"], 0), out)
    return out


def extract(scripts: Path, release: Path, folder: Path, number: int) -> Path:
    """Run the line in `folder`, where nothing lies but the videos and what earlier lines left."""
    line = LINE.format(model=shlex.quote(str(release.resolve())), out=f"features{number}")
    done = subprocess.run(["bash", "-euc", line], cwd=folder, env=alone(scripts), capture_output=True, text=True)
    if done.returncode:
        raise UserError(f"the line ended with {done.returncode}: {done.stderr.strip()[-2000:]}")
    return folder / f"features{number}"


def read(features: Path, domains: dict[str, str]) -> list[Clip]:
    """Features by clip; which file is which stands in the list beside them, for whoever ran the line."""
    listed = pq.read_table(features.with_name(f"{features.name}.videos.parquet")).to_pylist()
    store = zarr.open_group(features, mode="r")
    clips = []
    for row in sorted(listed, key=lambda row: (domains[row["path"]], row["path"])):
        group = store[row["video_id"]]
        assert isinstance(group, zarr.Group)
        values = np.asarray(group["features"][:], dtype=np.float64)[np.asarray(group["valid"][:], dtype=bool)]  # type: ignore[index]
        clips.append(Clip(Path(row["path"]).stem, domains[row["path"]], values))
    if len(clips) != len(domains):
        raise UserError(f"{len(domains) - len(clips)} of {len(domains)} clips have no features")
    return clips


def compare(clips: list[Clip], is_centred: bool) -> dict[str, Any]:
    """Similarities of clips, and of windows across clips."""
    common = np.concatenate([clip.features for clip in clips]).mean(0) if is_centred else 0.0
    windows = [clip.features - common for clip in clips]
    means = _unit(np.stack([each.mean(0) for each in windows]))
    similar = means @ means.T
    owner = np.repeat(np.arange(len(clips)), [len(each) for each in windows])
    domain = np.array([clip.domain for clip in clips])[owner]
    unit = _unit(np.concatenate(windows))
    across = np.where(owner[:, None] == owner[None], -np.inf, unit @ unit.T)
    is_same = domain[:, None] == domain[None]
    is_other = owner[:, None] != owner[None]
    asked = (is_same & is_other).any(1)
    right = is_same[np.arange(len(owner)), across.argmax(1)]
    chance = ((is_same & is_other).sum(1) / is_other.sum(1))[asked]
    return {
        "similarity": similar.tolist(),
        "nearest": float(right[asked].mean()),
        "chance": float(chance.mean()),
        "asked": int(asked.sum()),
        "nearest_by_domain": {name: float(right[asked & (domain == name)].mean()) for name in sorted({*domain[asked]})},
        "windows": [len(each) for each in windows],
    }


def pairs(clips: list[Clip], similar: list[list[float]], one: str, other: str) -> list[float]:
    """Similarities of clips of `one` with clips of `other`, each pair once."""
    return [
        similar[i][j]
        for i, first in enumerate(clips)
        for j, second in enumerate(clips)
        if i != j and (first.domain, second.domain) == (one, other) and (one != other or i < j)
    ]


def _unit(rows: Floats) -> Floats:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True).clip(1e-12)


def table(rows: list[dict[str, Any]], near: str, far: str) -> str:
    """Markdown."""
    lines = [
        f"| encoder | features | {near} with {near} | {near} with {far} | {far} with {far} | nearer | nearest | chance |",
        "|---|---|---:|---:|---:|---|---:|---:|",
    ]
    for row in rows:
        within, between, there = ([f"{value:.3f}" for value in row[key]] for key in ("within", "between", "there"))
        share = ", ".join(f"{name} {value:.2f}" for name, value in row["nearest_by_domain"].items())
        lines.append(
            f"| {row['encoder']} | {row['features']} | {', '.join(within)} | {', '.join(between)} | {', '.join(there)} "
            f"| {'yes' if row['is_nearer'] else 'no'} | {row['nearest']:.2f} ({share}) | {row['chance']:.2f} |"
        )
    return "\n".join(lines)


def full_table(row: dict[str, Any]) -> str:
    """All pairs of clips of one encoder, as Markdown."""
    names = row["clips"]
    lines = [f"| {row['encoder']}, {row['features']} | {' | '.join(names)} |", "|---|" + "---:|" * len(names)]
    for name, values in zip(names, row["similarity"], strict=True):
        lines.append(f"| {name} | {' | '.join(f'{value:.2f}' for value in values)} |")
    return "\n".join(lines)


def main() -> int:
    """Command line; see the module's docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=Path, required=True, help="folder with a folder of mp4 files for each domain")
    parser.add_argument("--domains", nargs="+", default=["laparoscopy", "cataract", "robotic", "endoscopy"])
    parser.add_argument("--near", default="laparoscopy", help="the domain whose clips should be near each other")
    parser.add_argument("--far", default="cataract", help="and farther from those of this one")
    parser.add_argument("--releases", nargs="+", required=True, metavar="NAME=FOLDER")
    parser.add_argument("--starts", action="store_true", help="random weights of the same architectures too")
    parser.add_argument("--environment", type=Path, help="folder to keep the environment in, for the next time")
    parser.add_argument("--note", default="", help="a remark for the result, such as how the releases were trained")
    parser.add_argument("--out", type=Path, help="folder for from_a_wheel_DATE.md and .json")
    options = parser.parse_args()
    files = {path: domain for domain in options.domains for path in sorted((options.clips / domain).glob("*.mp4"))}
    if len({path.name for path in files}) != len(files) or not {options.near, options.far} <= {*files.values()}:
        raise UserError(f"{options.clips} lacks clips of {options.near} or {options.far}, or has two of one name")
    releases = {text.partition("=")[0]: Path(text.partition("=")[2]).absolute() for text in options.releases}
    rows: list[dict[str, Any]] = []
    with (
        tempfile.TemporaryDirectory() as name,
        progress("installing, then extracting", 1 + len(releases) * (1 + options.starts)) as advance,
    ):
        folder = Path(name)
        scripts = install((options.environment or folder).absolute())
        advance()
        if options.starts:
            releases |= {
                f"{key}, random start": random_start(path, folder / f"start_{key}") for key, path in releases.items()
            }
        (folder / "empty" / "videos").mkdir(parents=True)
        for path in files:
            shutil.copyfile(path, folder / "empty" / "videos" / path.name)
        for number, (encoder, release) in enumerate(releases.items()):
            features = extract(scripts, release, folder / "empty", number)
            clips = read(features, {path.name: domain for path, domain in files.items()})
            for is_centred in (False, True):
                found = compare(clips, is_centred)
                within, between, there = (
                    pairs(clips, found["similarity"], *domains)
                    for domains in (
                        (options.near, options.near),
                        (options.near, options.far),
                        (options.far, options.far),
                    )
                )
                kind = "centred" if is_centred else "raw"
                facts = {"encoder": encoder, "features": kind, "clips": [clip.name for clip in clips]}
                facts |= {"within": within, "between": between, "there": there}
                rows.append(facts | {"is_nearer": min(within) > max(between)} | found)
            advance()
    date = datetime.date.today().isoformat()
    windows = ", ".join(f"{name} {count}" for name, count in zip(rows[0]["clips"], rows[0]["windows"], strict=True))
    line = LINE.format(model="RELEASE", out="features")
    head = f"`{line}` in an environment with nothing but `pip install` of the wheel. Windows: {windows}. "
    head += f"{date}, {machine('cpu')}."
    head += f" {options.note}" if options.note else ""
    full = "\n\n".join(full_table(row) for row in rows if "random" not in row["encoder"])
    text = f"{head}\n\n{table(rows, options.near, options.far)}\n\nAll pairs of clips:\n\n{full}"
    print(text)
    if options.out:
        given = " ".join(f"{text.partition('=')[0]}=RELEASE" for text in options.releases)
        command = f"`python benchmarks/from_a_wheel.py --clips clips --releases {given}"
        command += " --starts`" if options.starts else "`"
        title = "# From a wheel to features of real clips"
        write_result(
            options.out / f"from_a_wheel_{date}", f"{title}\n\n{text}\n\n{command}\n", {"about": head, "rows": rows}
        )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
