"""How many operations a second known devices can do at most.

In: the name of a device. Out: its peak, or None. It is its own file because utilisation means something only against a number that the
maker publishes: a device that is not listed has no utilisation here, rather than a guessed one.
"""

from __future__ import annotations

# Matrix products in bfloat16 with sums in float32, dense, in TFLOP/s: half of what data sheets give "with sparsity". By a part of the
# name that CUDA reports, the first that fits. Sources: NVIDIA's data sheets of the A100 (2021), H100 (SXM, PCIe, NVL), H200 (SXM, NVL), HGX
# B200, L40S, L4 and A10; its white papers on GA102 (RTX A6000, RTX 3090) and AD102 (RTX 4090, RTX 6000 Ada). A V100 is not here: it has
# no bfloat16.
_BFLOAT16 = (
    ("B200", 2250.0),
    ("H200 NVL", 835.5),
    ("H200", 989.4),
    ("H100 NVL", 835.5),
    ("H100 PCIe", 756.0),
    ("H100", 989.4),
    ("A100", 312.0),
    ("L40S", 362.0),
    ("L4", 121.0),
    ("RTX 6000 Ada", 364.2),
    ("RTX A6000", 154.8),
    ("RTX 4090", 165.2),
    ("RTX 3090", 71.0),
    ("A10", 125.0),
)
_MODELS = tuple(tuple(part.split()) for part, _ in _BFLOAT16)


_OTHERS = {"MIG", "Laptop", "D"}  # parts of a device, and lesser ones of its name: for a laptop, RTX 4090 D


def peak_flops(device_name: str, precision: str) -> float | None:
    """Operations a second that `device_name` (as `torch.cuda.get_device_name` has it) can do at most in `precision`, dense; None where
    that is not known: for another device or precision than listed, for a part of one (MIG), and for a lesser one of the name.
    """
    words = device_name.replace("-", " ").split()
    if precision != "bf16-mixed" or _OTHERS & set(words):
        return None
    for model, (_, peak) in zip(_MODELS, _BFLOAT16, strict=True):
        if all(word in words for word in model):
            return peak * 1e12
    return None
