"""VGG-16 with batch normalisation for small images (Simonyan & Zisserman, arXiv 1409.1556, configuration D)."""

from __future__ import annotations

from typing import ClassVar, Final

from torch import Tensor, nn

_STAGES: Final = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # channels, convolutions; a 2×2 pool after each


class Vgg16BnCifar(nn.Module):
    """Thirteen 3×3 convolutions, global average pooling, one linear layer; input sizes from 32 px.

    The CAM layer is the last ReLU before the last pool: 2×2 for an input of 32 px, 4×4 for 64 px.
    """

    cam_layer_name: ClassVar[str] = "features.42"

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels_in = 3
        for channels, convolutions in _STAGES:
            for _ in range(convolutions):
                convolution = nn.Conv2d(channels_in, channels, kernel_size=3, padding=1, bias=False)
                nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
                layers += [convolution, nn.BatchNorm2d(channels), nn.ReLU(inplace=True)]
                channels_in = channels
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)
        self.classifier = nn.Linear(channels_in, num_classes)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, S, S)."""
        logits: Tensor = self.classifier(self.features(images).mean(dim=(2, 3)))
        return logits
