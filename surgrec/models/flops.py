"""What a model costs, from its shape alone.

In: widths, depths, token counts. Out: floating-point operations of a forward pass and bytes kept for the backward pass, per
clip. It is its own file because a preview must say what a run will cost without building it, and without a GPU.
A multiplication with its addition counts as two operations; only matrix products are counted, the rest is below 2 %.
"""

from __future__ import annotations

from collections.abc import Sequence

from surgrec.models.sizes import EncoderSize, HeadSize

# forward, then gradients for the weights and for the inputs
TRAINING_OVER_FORWARD = 3


def block_flops(num_tokens: int, width: int, mlp_ratio: float = 4.0) -> int:
    """Forward operations of one block on `num_tokens` tokens: projections and MLP, then the two attention products."""
    linear = 2 * num_tokens * width * (4 * width + 2 * round(width * mlp_ratio))
    return linear + 4 * num_tokens**2 * width


def last_block_flops(num_tokens: int, num_wanted: int, width: int, mlp_ratio: float = 4.0) -> int:
    """Forward operations of a block on `num_tokens` tokens that is worked out for `num_wanted` of them; see `Block.forward`'s `first`."""
    linear = 2 * width * (2 * num_tokens * width + num_wanted * (2 * width + 2 * round(width * mlp_ratio)))
    return linear + 4 * num_tokens * num_wanted * width


def encoder_flops(num_tokens: int, *, width: int, depth: int, mlp_ratio: float = 4.0, patch_values: int) -> int:
    """Forward operations of the encoder on the K or N tokens that it is given; `patch_values` is P."""
    return 2 * num_tokens * patch_values * width + depth * block_flops(num_tokens, width, mlp_ratio)


def decoder_flops(
    num_context: int,
    num_target: int,
    *,
    encoder_width: int,
    width: int,
    depth: int,
    mlp_ratio: float = 4.0,
    patch_values: int,
) -> int:
    """Forward operations of the decoder on K context and M target tokens; `patch_values` is P. Its last block is for targets alone."""
    ends = 2 * num_context * encoder_width * width + 2 * num_target * width * patch_values
    blocks = (depth - 1) * block_flops(num_context + num_target, width, mlp_ratio)
    return ends + blocks + last_block_flops(num_context + num_target, num_target, width, mlp_ratio)


def predictor_flops(
    num_context: int,
    num_target: int,
    *,
    encoder_width: int,
    width: int,
    depth: int,
    mlp_ratio: float = 4.0,
    num_levels: int = 1,
    has_context_head: bool = False,
) -> int:
    """Forward operations of the predictor on K context and M target tokens, reading and predicting `num_levels` levels."""
    merge = 2 * num_context * num_levels * encoder_width**2 if num_levels > 1 else 0
    predicted = num_target + (num_context if has_context_head else 0)
    ends = 2 * (num_context + num_levels * predicted) * encoder_width * width + merge
    return ends + depth * block_flops(num_context + num_target, width, mlp_ratio)


def training_flops(
    masks: Sequence[tuple[int, int]],
    encoder: EncoderSize,
    head: HeadSize,
    *,
    patch_values: int,
    num_tokens: int | None,
    num_levels: int = 1,
    has_context_head: bool = False,
) -> int:
    """Operations of one clip's step, forward and backward, that the model needs: nothing that is computed twice to save memory.

    `masks`: (context, target) tokens of each mask set. `num_tokens`: N, where a target encoder sees the whole clip and the head is
    a predictor; None for a decoder. The clip itself needs no gradient.
    """
    shape = {"width": encoder.width, "depth": encoder.depth, "mlp_ratio": encoder.mlp_ratio}
    ends = {"encoder_width": encoder.width, "width": head.width, "depth": head.depth}
    total = 0
    for context, target in masks:
        if num_tokens is None:
            of_head = decoder_flops(context, target, **ends, patch_values=patch_values)
        else:
            of_head = predictor_flops(context, target, **ends, num_levels=num_levels, has_context_head=has_context_head)
        of_encoder = encoder_flops(context, **shape, patch_values=patch_values)  # type: ignore[arg-type]
        total += TRAINING_OVER_FORWARD * (of_encoder + of_head) - 2 * context * patch_values * encoder.width
    if num_tokens is not None:  # one forward pass of the target encoder serves all masks
        total += encoder_flops(num_tokens, **shape, patch_values=patch_values)  # type: ignore[arg-type]
    return total


def activation_bytes(
    num_tokens: int,
    *,
    width: int,
    depth: int,
    mlp_ratio: float = 4.0,
    has_rotary: bool,
    compute_bytes: int,
    activation_checkpointing: str,
) -> int:
    """Bytes that a stack of blocks keeps for the backward pass of one clip; parameters and their casts are not counted.

    `compute_bytes` is 2 under bfloat16 autocast, where the residual stream stays in 4 bytes, else 4. A block keeps, in
    units of D values a token, by `activation_checkpointing` (see `Block`):

    - "selective": the inputs of its two norms (residual stream); and in compute precision queries, keys and values (3), the mixed
      tokens (1) and the MLP's hidden layer before GELU (the MLP ratio).
    - "none": also both normed (2), the hidden layer after GELU (the ratio again), and queries and keys before they were rotated (2,
      where they are).
    - "full": its input; one block at a time keeps as under "selective".

    Fused attention keeps no scores.
    """
    residual = 4 * num_tokens * width
    hidden = round(width * mlp_ratio)
    in_compute = num_tokens * (width * 4 + hidden)
    if activation_checkpointing == "none":
        in_compute += num_tokens * (width * (2 + (2 if has_rotary else 0)) + hidden)
    block = 2 * residual + compute_bytes * in_compute
    return depth * residual + block if activation_checkpointing == "full" else depth * block
