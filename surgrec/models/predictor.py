"""The latent predictor: from context tokens to what the target encoder would say about hidden tokens.

In: encoded context tokens, the ids of context and target tokens, the grid. Out: predicted tokens (B, M, D). It is its own
file because it belongs to one objective and is thrown away after training (V-JEPA 2, Assran et al. 2025, arXiv 2506.09985).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from surgrec.core.grid import TokenGrid
from surgrec.models.attention import AttentionBackend
from surgrec.models.block import NORM_EPS, stack
from surgrec.models.errors import ModelError
from surgrec.models.init import InitScheme, init_weights
from surgrec.models.positions import Positions, RopeStyle, added_table, check_position_grid, check_rotary
from surgrec.models.rotary import Rotary


class Predictor(nn.Module):
    """A narrow transformer over context tokens and copies of a mask token (V-JEPA 2: 384 wide, 12 deep, 12 heads).

    All tokens carry the positions of their true ids, rotary ("rope", V-JEPA 2) or added ("sincos" and, as in V-JEPA 1,
    "sincos_3d"), so they are concatenated, not sorted. With "rope" all mask tokens are alike until training has moved them
    from zero, since rotation needs something to rotate; a short run starts sooner with added positions. The mask tokens start at
    zero and are one parameter (num_mask_tokens, 1, 1, width), so that all of it always has a gradient, which DDP needs.
    """

    def __init__(
        self,
        *,
        encoder_width: int,
        width: int = 384,
        depth: int = 12,
        num_heads: int = 12,
        mlp_ratio: float = 4.0,
        num_mask_tokens: int = 2,
        positions: Positions = "rope",
        rope_style: RopeStyle = "tiled",
        position_grid: Sequence[int] | None = None,
        norm_eps: float = NORM_EPS,
        attention_backend: AttentionBackend = "sdpa",
        activation_checkpointing: bool = False,
        init: InitScheme = "trunc_normal",
    ) -> None:
        super().__init__()
        if positions == "rope":
            check_rotary(width // num_heads, rope_style)
        self.width, self.num_heads, self.rope_style, self.init_scheme = width, num_heads, rope_style, init
        self.positions, self.norm_eps = positions, norm_eps
        self.position_grid = None if position_grid is None else check_position_grid(position_grid, positions)
        self.embed = nn.Linear(encoder_width, width)
        self.mask_tokens = nn.Parameter(torch.zeros(num_mask_tokens, 1, 1, width))
        self.blocks = stack(
            depth,
            width,
            num_heads,
            mlp_ratio,
            qkv_bias="qkv",
            norm_eps=norm_eps,
            attention_backend=attention_backend,
            activation_checkpointing=activation_checkpointing,
        )
        self.norm = nn.LayerNorm(width, eps=norm_eps)
        self.proj = nn.Linear(width, encoder_width)
        self.init_weights()

    def init_weights(self) -> None:
        """Draw all parameters anew; mask tokens are zero, as V-JEPA 2 has them."""
        init_weights(self, self.init_scheme)
        nn.init.zeros_(self.mask_tokens)

    def forward(
        self, context_tokens: Tensor, context_ids: Tensor, target_ids: Tensor, grid: TokenGrid, mask_index: int = 0
    ) -> Tensor:
        """Predict the target tokens from context tokens (B, K, D): (B, M, D), row m for token `target_ids[:, m]`.

        `context_ids` (B, K) and `target_ids` (B, M), int64, count in `grid`; `mask_index` picks the mask token (a model
        trained by the official code has trained number 0 alone; transformers' port always takes number 1).
        """
        if not 0 <= mask_index < self.mask_tokens.shape[0]:
            raise ModelError(
                f"the predictor has {self.mask_tokens.shape[0]} mask tokens, there is no number {mask_index}"
            )
        context = self.embed(context_tokens).to(self.mask_tokens.dtype)
        target = self.mask_tokens[mask_index].expand(*target_ids.shape, -1)
        tokens = torch.cat((context, target), dim=1)
        ids = torch.cat((context_ids, target_ids), dim=1)
        rotary: Rotary | None = None
        if self.positions == "rope":
            rotary = Rotary.at(grid, self.width // self.num_heads, self.rope_style, ids, tokens.device)
        else:
            table = added_table(self.positions, grid, self.width, tokens.device, self.position_grid)
            tokens = tokens + table.to(tokens.dtype)[ids]
        for block in self.blocks:
            tokens = block(tokens, rotary)
        return self.proj(self.norm(tokens[:, context_ids.shape[1] :]))
