"""The entry points of torch.hub, from a local folder: nothing is fetched."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import torch

import hubconf
import surgrec
from tests.hub.build import written

REPOSITORY = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def test_torch_hub_loads_what_surgrec_loads(tmp_path: Path) -> None:
    release = written(tmp_path / "release", "mae")
    expected, preprocess = surgrec.load_model(release)
    video = torch.randn(1, 3, 4, 32, 32, generator=torch.Generator().manual_seed(0))
    repository = str(REPOSITORY)
    encoder, its_preprocess = torch.hub.load(repository, "load_model", release, source="local")
    assert torch.equal(encoder(video), expected(video)) and its_preprocess == preprocess
    assert torch.equal(torch.hub.load(repository, "encoder", release, source="local")(video), expected(video))
    model = torch.hub.load(repository, "timm_model", release, source="local", num_classes=3)
    assert torch.equal(model.forward_features(video), expected(video)) and model(video).shape == (1, 3)


def test_nothing_but_entries_that_explain_themselves_and_packages_that_are_required() -> None:
    """torch.hub offers every public callable of the file, and refuses to load where a package is missing."""
    entries = {name for name, value in vars(hubconf).items() if callable(value) and not name.startswith("_")}
    assert entries == {"encoder", "load_model", "timm_model"} and all(
        getattr(hubconf, name).__doc__ for name in entries
    )
    required = {re.split(r"[<>=]", one)[0] for one in PROJECT["project"]["dependencies"]}
    assert set(hubconf.dependencies) <= required
