"""A benchmark that ran without a break, to hold others against."""

from __future__ import annotations

from pathlib import Path

import pytest

from surgrec.evaluation.results import Results
from surgrec.evaluation.running.join import join
from surgrec.evaluation.running.plan import Plan
from surgrec.evaluation.running.run import run_cells
from tests.evaluation.running import tiny
from tests.evaluation.running.tiny import QUICK


@pytest.fixture(scope="session")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return tiny.write_videos(tmp_path_factory.mktemp("videos"))


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory, videos: list[Path]) -> tuple[Plan, Results]:
    """The quick protocols, run without a break."""
    plan = tiny.plan(tmp_path_factory.mktemp("whole"), videos, protocols=QUICK)
    run_cells(plan, plan.places())
    return plan, join(plan, {})
