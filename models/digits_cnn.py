"""The network of the demo: small, for handwritten digits of 8 × 8 pixels."""

from __future__ import annotations

from torch import Tensor, nn

from .initialisation import initialise


class DigitsCnn(nn.Module):
    """Three 3 × 3 convolutions with batch norm and ReLU, pooled to one linear layer.

    75,370 parameters for one channel and ten classes. Parameter names: ``conv{1,2,3}``,
    ``bn{1,2,3}``, ``fc``.

    Args:
        channels: channels of the input.
        classes: number of classes.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, 32, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv3 = nn.Conv2d(64, 96, 3, stride=2, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(96)
        self.relu = nn.ReLU(inplace=True)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(96, classes)
        initialise(self)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (n, classes) for images (n, channels, height, width)."""
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        x = self.relu(self.bn3(self.conv3(x)))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits
