"""float32 that is float32, on a GPU too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def full_precision() -> Iterator[None]:
    """Keep TF32 out of convolutions and matrix products, and put torch's settings back on the way out.

    torch allows it in cuDNN's convolutions unless told otherwise: these then round their input to 10 bits of mantissa
    where float32 has 23, and a GPU's figures differ from a CPU's in the third digit. Autocast to bf16 or fp16 is not
    concerned.
    """
    convolutions, products = torch.backends.cudnn.allow_tf32, torch.get_float32_matmul_precision()
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = convolutions
        torch.set_float32_matmul_precision(products)
