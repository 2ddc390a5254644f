"""MobileNet V1: depthwise separable convolutions for images of about 224 × 224 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from .initialisation import initialise

# Output channels and stride of each depthwise separable block.
_BLOCKS = (
    (64, 1),
    (128, 2),
    (128, 1),
    (256, 2),
    (256, 1),
    (512, 2),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (512, 1),
    (1024, 2),
    (1024, 1),
)


class SeparableBlock(nn.Module):
    """A 3 × 3 convolution of each channel alone, then a 1 × 1 convolution across channels."""

    def __init__(self, channels_in: int, channels_out: int, stride: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(
            channels_in, channels_in, 3, stride, padding=1, groups=channels_in, bias=False
        )
        self.bn1 = nn.BatchNorm2d(channels_in)
        self.pointwise = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels_out)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        x = self.relu(self.bn1(self.depthwise(x)))
        result: Tensor = self.relu(self.bn2(self.pointwise(x)))
        return result


class MobileNetV1(nn.Module):
    """A convolution, thirteen depthwise separable blocks and a linear layer (width 1.0).

    Parameter names: ``conv1``, ``bn1``, ``blocks.{0..12}.{depthwise,bn1,pointwise,bn2}``, ``fc``.

    Args:
        channels: channels of the input.
        classes: number of classes.

    Source: Howard et al., "MobileNets", arXiv 1704.04861, table 1; the last stride, printed there
    as 2, is 1, as the sizes in the same table require.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, stride=2, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.relu = nn.ReLU(inplace=True)
        entering = (32, *(width for width, _ in _BLOCKS))
        self.blocks = nn.Sequential(
            *(
                SeparableBlock(channels_in, channels_out, stride)
                for channels_in, (channels_out, stride) in zip(entering, _BLOCKS, strict=False)
            )
        )
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(entering[-1], classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) for images (n, channels, height, width)."""
        x = self.blocks(self.relu(self.bn1(self.conv1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
