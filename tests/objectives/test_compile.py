"""Static shapes: a compiled objective is one graph, whatever the masks."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch._dynamo.testing import CompileCounter

from surgrec.masks.multiblock import MultiBlockMasker
from surgrec.masks.tube import TubeMasker
from surgrec.objectives.objective import Objective
from tests.objectives.build import GRID, GROUPS, random_video, small_dense_jepa, small_jepa, small_mae

STEPS = 4
CASES = {
    "mae": (small_mae, TubeMasker(GRID, 0.75, 0)),
    "mae with dual masking": (small_mae, TubeMasker(GRID, 0.75, 0, running_cells=True)),
    "jepa": (small_jepa, MultiBlockMasker(GRID, GROUPS, 0)),
    "dense jepa": (small_dense_jepa, MultiBlockMasker(GRID, GROUPS, 0)),
}


@pytest.mark.parametrize(
    "case", [*list(CASES)[:2], *(pytest.param(case, marks=pytest.mark.slow) for case in list(CASES)[2:])]
)
def test_no_step_compiles_again_after_the_first(case: str) -> None:
    make: Callable[[], Objective] = CASES[case][0]
    objective, masker, counter = make(), CASES[case][1], CompileCounter()
    torch._dynamo.reset()
    learner = torch.compile(objective.learner, backend=counter, fullgraph=True)
    for step in range(STEPS):
        video, masks = random_video(), masker.draw(np.arange(3 * step, 3 * step + 3))
        targets = objective.targets(video, masks)
        compiled, plain = learner(video, masks, targets).loss, objective.learner(video, masks, targets).loss
        torch.testing.assert_close(compiled, plain, rtol=1e-5, atol=1e-6)
        compiled.backward()
    assert counter.frame_count == 1
    torch._dynamo.reset()
