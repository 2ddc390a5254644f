"""Residual networks for images of 32 × 32 pixels: ResNet-20, 32, 44 and 56."""

from __future__ import annotations

from torch import Tensor, nn

from .initialisation import initialise
from .residual import BasicBlock, stage


class CifarResNet(nn.Module):
    """Three stages of basic blocks with 16, 32 and 64 channels; 6 · ``blocks`` + 2 layers.

    Shortcuts that change the shape are 1 × 1 convolutions with batch norm (option B of the paper).
    Parameter names: ``conv1``, ``bn1``, ``layer{1,2,3}.{i}.{conv1,bn1,conv2,bn2}``,
    ``layer{2,3}.0.downsample.{0,1}``, ``fc``.

    Args:
        blocks: blocks in each stage: 3 for ResNet-20, 5 for 32, 7 for 44, 9 for 56.
        channels: channels of the input.
        classes: number of classes.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, section 4.2.
    """

    def __init__(self, blocks: int, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 16, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.relu = nn.ReLU(inplace=True)
        self.layer1 = stage(BasicBlock, 16, 16, blocks, stride=1)
        self.layer2 = stage(BasicBlock, 16, 32, blocks, stride=2)
        self.layer3 = stage(BasicBlock, 32, 64, blocks, stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(64, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) for images (n, channels, height, width)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
