"""What a model costs, from its shape alone.

In: widths, depths, token counts. Out: floating-point operations of a forward pass and bytes kept for the backward pass, per
clip. It is its own file because a preview must say what a run will cost without building it, and without a GPU.
A multiplication with its addition counts as two operations; only matrix products are counted, the rest is below 2 %.
"""

from __future__ import annotations

# forward, then gradients for the weights and for the inputs
TRAINING_OVER_FORWARD = 3


def block_flops(num_tokens: int, width: int, mlp_ratio: float = 4.0) -> int:
    """Forward operations of one block on `num_tokens` tokens: projections and MLP, then the two attention products."""
    linear = 2 * num_tokens * width * (4 * width + 2 * round(width * mlp_ratio))
    return linear + 4 * num_tokens**2 * width


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
    """Forward operations of the decoder on K context and M target tokens; `patch_values` is P."""
    ends = 2 * num_context * encoder_width * width + 2 * num_target * width * patch_values
    return ends + depth * block_flops(num_context + num_target, width, mlp_ratio)


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


def activation_bytes(
    num_tokens: int,
    *,
    width: int,
    depth: int,
    mlp_ratio: float = 4.0,
    has_rotary: bool,
    compute_bytes: int,
    activation_checkpointing: bool,
) -> int:
    """Bytes that a stack of blocks keeps for the backward pass of one clip; parameters and their casts are not counted.

    `compute_bytes` is 2 under bfloat16 autocast, where the residual stream stays in 4 bytes, else 4. A block keeps, in
    units of D values a token: the inputs of its two norms (residual stream); and in compute precision the inputs of its
    four linear layers (1, 1, 1 and the MLP ratio), the MLP's hidden layer before GELU (the ratio again), queries, keys and
    values as projected (3), queries and keys as rotated (2, where they are). Fused attention keeps no scores.
    """
    residual = 4 * num_tokens * width
    hidden = round(width * mlp_ratio)
    in_compute = num_tokens * (width * (3 + 3 + (2 if has_rotary else 0)) + 2 * hidden)
    block = 2 * residual + compute_bytes * in_compute
    if activation_checkpointing:
        return depth * residual + block  # every block's input, and one block at a time in full
    return depth * block
