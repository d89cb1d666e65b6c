"""SmallCNN: the network of the paper's biased MNIST experiment."""

from __future__ import annotations

from typing import ClassVar, Final

from torch import Tensor, nn

from masktune_core.errors import ArchitectureError

INPUT_SIZE: Final = 28


class SmallCNN(nn.Module):
    """Two pairs of 3×3 convolutions (16, then 32 channels), each pair followed by a 2×2 pool; then two linear layers.

    Convolutions are unpadded, so 28 px become 8×8×32 at the CAM layer and 4×4×32 = 512 features. Modules are named as
    in the authors' code (`backbone`, `linear`): their checkpoints load. MaskTune (arXiv 2210.00055), section 4.1.
    """

    cam_layer_name: ClassVar[str] = "backbone.12"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = nn.Sequential(
            *_convolution(3, 16),
            *_convolution(16, 16),
            nn.MaxPool2d(2),
            *_convolution(16, 32),
            *_convolution(32, 32),
            nn.MaxPool2d(2),
            nn.Flatten(),
        )
        self.linear = nn.Sequential(nn.Linear(512, 256), nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, num_classes))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, 28, 28). Raises `ArchitectureError` for another shape."""
        if images.ndim != 4 or images.shape[1:] != (3, INPUT_SIZE, INPUT_SIZE):
            raise ArchitectureError(
                f"small_cnn takes images of shape (3, {INPUT_SIZE}, {INPUT_SIZE}), got {tuple(images.shape[1:])}: "
                f"set input.size to {INPUT_SIZE}, or choose another architecture"
            )
        logits: Tensor = self.linear(self.backbone(images))
        return logits


def _convolution(channels_in: int, channels_out: int) -> tuple[nn.Module, ...]:
    return nn.Conv2d(channels_in, channels_out, kernel_size=3), nn.BatchNorm2d(channels_out), nn.ReLU(inplace=True)
