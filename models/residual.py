"""Residual blocks and stages: the parts that the residual networks are composed of."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor, nn


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut (He et al. 2016, figure 5, left)."""

    expansion: ClassVar[int] = 1

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, width, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y)) + shortcut
        result: Tensor = self.relu(y)
        return result


class Bottleneck(nn.Module):
    """1 × 1, 3 × 3 and 1 × 1 convolution and a shortcut (He et al. 2016, figure 5, right).

    The stride is on the 3 × 3 convolution, not on the first one as in the paper: the variant that
    pretrained weights of ResNet-50 are commonly published for.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels_in: int, width: int, stride: int) -> None:
        super().__init__()
        channels_out = width * self.expansion
        self.conv1 = nn.Conv2d(channels_in, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, channels_out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = _projection(channels_in, channels_out, stride)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.relu(self.bn2(self.conv2(y)))
        y = self.bn3(self.conv3(y)) + shortcut
        result: Tensor = self.relu(y)
        return result


BlockType = type[BasicBlock] | type[Bottleneck]


def stage(
    block: BlockType, channels_in: int, width: int, blocks: int, stride: int
) -> nn.Sequential:
    """Return ``blocks`` residual blocks in a row, the first of which has the stride.

    Args:
        block: the kind of block.
        channels_in: channels that enter the first block.
        width: channels inside a block; ``width * block.expansion`` leave it.
        blocks: number of blocks, at least 1.
        stride: of the first block, in pixels.
    """
    first = block(channels_in, width, stride)
    rest = [block(width * block.expansion, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(first, *rest)


def _projection(channels_in: int, channels_out: int, stride: int) -> nn.Sequential | None:
    if stride == 1 and channels_in == channels_out:
        return None
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 1, stride, bias=False), nn.BatchNorm2d(channels_out)
    )
