"""Residual networks for images of about 224 × 224 pixels: ResNet-18 and ResNet-50."""

from __future__ import annotations

from torch import Tensor, nn

from .initialisation import initialise
from .residual import BasicBlock, BlockType, Bottleneck, stage


class ResNet(nn.Module):
    """Four stages of residual blocks after a 7 × 7 convolution and a max pool.

    Parameter names are torchvision's: ``conv1``, ``bn1``,
    ``layer{1,2,3,4}.{i}.{conv1,bn1,conv2,bn2}`` (and ``conv3``, ``bn3`` in a bottleneck),
    ``layer{k}.0.downsample.{0,1}``, ``fc``.

    Args:
        block: the kind of block.
        blocks: number of blocks in each of the four stages.
        channels: channels of the input.
        classes: number of classes.

    Source: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, table 1.
    """

    def __init__(
        self, block: BlockType, blocks: tuple[int, int, int, int], channels: int, classes: int
    ) -> None:
        super().__init__()
        wide = block.expansion
        self.conv1 = nn.Conv2d(channels, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = stage(block, 64, 64, blocks[0], stride=1)
        self.layer2 = stage(block, 64 * wide, 128, blocks[1], stride=2)
        self.layer3 = stage(block, 128 * wide, 256, blocks[2], stride=2)
        self.layer4 = stage(block, 256 * wide, 512, blocks[3], stride=2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(512 * wide, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) for images (n, channels, height, width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def resnet18(channels: int, classes: int) -> ResNet:
    """Return ResNet-18, of basic blocks, with fresh weights."""
    return ResNet(BasicBlock, (2, 2, 2, 2), channels, classes)


def resnet50(channels: int, classes: int) -> ResNet:
    """Return ResNet-50, of bottlenecks, with fresh weights."""
    return ResNet(Bottleneck, (3, 4, 6, 3), channels, classes)
