"""Tube masks for masked autoencoding.

In: token grid, ratio. Out: per clip one set of visible cells, the same at every time step (Tong et al. 2022, VideoMAE,
arXiv 2203.12602, section 3.3), and optionally VideoMAE V2's running-cell choice of what the decoder must reconstruct
(Wang et al. 2023, arXiv 2303.16727, section 3.2). Its own file: one masking scheme, one file.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from surgrec.core.grid import TokenGrid
from surgrec.core.rng import uniforms
from surgrec.masks.masks import MaskError, MaskSet, tube_ids

_CELL_PERIOD = 4  # the running cell visits its four places in turn, so its pattern repeats every four time steps


class TubeMasker:
    """Masks `int(ratio * cells)` random cells of every clip at all time steps; counts are exact and constant.

    With `running_cells=True` only half of each time step is decoded: in every 2 x 2 cell two neighbouring places, moving one
    place on with each time step. A hidden cell is then decoded at exactly half of the time steps, so the number of targets
    stays constant (704 instead of 1408 for ViT-B at 16 x 224 x 224). It needs even rows and columns and a multiple of 4 time steps.
    VideoMAE V2 gives its decoder a mask token for all 784 places of the pattern and takes the loss where the encoder has not looked;
    here the 80 or so others are left out, which nothing is learnt from. Its pattern moves through the cell row by row, so that at
    every other step the two places lie across; here it moves clockwise and they are always neighbours.
    """

    def __init__(self, grid: TokenGrid, ratio: float, seed: int, running_cells: bool = False) -> None:
        if not 0 < ratio < 1:
            raise MaskError(f"mask.ratio {ratio} must lie between 0 and 1")
        if running_cells and (grid.h % 2 or grid.w % 2 or grid.t % _CELL_PERIOD):
            raise MaskError(
                f"mask.running_cells needs even rows and columns and a multiple of {_CELL_PERIOD} time steps; "
                f"this clip gives {grid.t} x {grid.h} x {grid.w} tokens"
            )
        self.grid, self.seed, self.running_cells = grid, seed, running_cells
        self.num_hidden_cells = int(ratio * grid.num_cells)
        if not 0 < self.num_hidden_cells < grid.num_cells:
            raise MaskError(f"mask.ratio {ratio} leaves nothing to see or to predict of {grid.num_cells} cells")

    def draw(self, positions: npt.ArrayLike) -> tuple[MaskSet, ...]:
        """One `MaskSet` for the clips at these global positions (B,)."""
        grid, at = self.grid, np.asarray(positions, dtype=np.int64)
        order = np.argsort(uniforms(self.seed, "tube mask", at, grid.num_cells), axis=1, kind="stable")
        hidden, visible = order[:, : self.num_hidden_cells], order[:, self.num_hidden_cells :]
        context = tube_ids(visible, grid.t, grid.num_cells)
        if not self.running_cells:
            return (MaskSet(context, tube_ids(hidden, grid.t, grid.num_cells)),)
        is_hidden = np.zeros((len(at), grid.num_cells), dtype=bool)
        np.put_along_axis(is_hidden, hidden, True, axis=1)
        phase = (uniforms(self.seed, "running cell phase", at, 1)[:, 0] * _CELL_PERIOD).astype(np.int64)
        is_target = self._decoded(phase) & is_hidden[:, None, :]
        target = np.nonzero(is_target.reshape(len(at), -1))[1].reshape(len(at), -1)
        return (MaskSet(context, torch.from_numpy(target)),)

    def _decoded(self, phase: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which tokens the running cells cover: (B, t, cells)."""
        grid = self.grid
        place = np.array([[0, 1], [3, 2]])  # clockwise through a 2 x 2 cell
        place_of_cell = np.tile(place, (grid.h // 2, grid.w // 2)).reshape(-1)
        turn = place_of_cell[None, None, :] - np.arange(grid.t)[None, :, None] - phase[:, None, None]
        decoded: npt.NDArray[np.bool_] = (turn % _CELL_PERIOD) < 2
        return decoded
