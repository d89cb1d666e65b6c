"""ResNet-32 for small images, as in section 4.2 of He et al., Deep Residual Learning (arXiv 1512.03385)."""

from __future__ import annotations

from typing import ClassVar

import torch.nn.functional as F  # noqa: N812 - the name every PyTorch reader knows
from torch import Tensor, nn


class ResNetCifar(nn.Module):
    """Three stages of five two-convolution blocks with 16, 32 and 64 channels; 0.46 M parameters; any input size ≥ 8.

    Shortcuts have no parameters (the paper's option A: every second pixel, new channels are zero). The CAM layer is
    the last block: 8×8 for an input of 32 px.
    """

    cam_layer_name: ClassVar[str] = "layer3.4"

    def __init__(self, num_classes: int, blocks: int = 5) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.layer1 = _stage(16, 16, blocks, stride=1)
        self.layer2 = _stage(16, 32, blocks, stride=2)
        self.layer3 = _stage(32, 64, blocks, stride=2)
        self.linear = nn.Linear(64, num_classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.kaiming_normal_(module.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (B, K) of images (B, 3, S, S)."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))  # (B, 64, S/4, S/4)
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


class _Block(nn.Module):
    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.new_channels = channels - channels_in
        self.conv1 = nn.Conv2d(channels_in, channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        residual = self.bn2(self.conv2(F.relu(self.bn1(self.conv1(features)))))
        return F.relu(residual + self._shortcut(features))

    def _shortcut(self, features: Tensor) -> Tensor:
        if self.stride == 1 and self.new_channels == 0:
            return features
        before = self.new_channels // 2
        subsampled = features[:, :, :: self.stride, :: self.stride]
        return F.pad(subsampled, (0, 0, 0, 0, before, self.new_channels - before))


def _stage(channels_in: int, channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = _Block(channels_in, channels, stride)
    return nn.Sequential(first, *(_Block(channels, channels, 1) for _ in range(blocks - 1)))
