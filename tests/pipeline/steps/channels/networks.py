"""Small networks, one for each way in which channels hang together."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F


class Net(nn.Module):
    """Three channels in, five scores out, the mean over positions before the last layer."""

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.last = nn.Linear(self.build(width), 5)

    def build(self, width: int) -> int:
        """Make the layers in between, and return the width of what they give."""
        return width

    def middle(self, x):
        """Return the tensor before the mean."""
        return x

    def forward(self, x):
        return self.last(self.middle(self.first(x).relu()).mean((2, 3)))


class Residual(Net):
    def build(self, width: int) -> int:
        self.a, self.norm = nn.Conv2d(width, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.b = nn.Conv2d(6, width, 1, bias=False)
        return width

    def middle(self, x):
        return (x + self.b(self.norm(self.a(x)).relu())).relu()


class Concatenation(Net):
    """A small U-Net: down, up by a transposed convolution, and what was there beside it."""

    def build(self, width: int) -> int:
        self.down, self.up = nn.Conv2d(width, 10, 3, 2, 1), nn.ConvTranspose2d(10, 6, 2, 2)
        self.norm, self.out = nn.BatchNorm2d(6 + width), nn.Conv2d(6 + width, 4, 1)
        return 4

    def middle(self, x):
        up = self.up(F.max_pool2d(self.down(x).relu(), 1))
        return self.out(self.norm(torch.cat([x, up], 1)).relu())


class Dense(Net):
    """Each layer takes what all layers before it gave."""

    def build(self, width: int) -> int:
        self.parts = nn.ModuleList(
            nn.Sequential(nn.BatchNorm2d(width + 4 * i), nn.ReLU(), nn.Conv2d(width + 4 * i, 4, 1))
            for i in range(3)
        )
        return width + 12

    def middle(self, x):
        for part in self.parts:
            x = torch.cat([x, part(x)], 1)
        return x


class Depthwise(Net):
    def build(self, width: int) -> int:
        self.depth, self.norm = (
            nn.Conv2d(width, width, 3, 1, 1, groups=width),
            nn.BatchNorm2d(width),
        )
        self.point = nn.Conv2d(width, 6, 1)
        return 6

    def middle(self, x):
        return self.point(F.hardswish(self.norm(self.depth(x))))


class Grouped(Net):
    def build(self, width: int) -> int:
        self.a, self.b = nn.Conv2d(width, 12, 3, 1, 1, groups=4), nn.Conv2d(12, 6, 1)
        return 6

    def middle(self, x):
        return self.b(self.a(x).relu())


class Excitation(Net):
    """Squeeze and excitation: a gate that is not zero where its channel is."""

    def build(self, width: int) -> int:
        self.a, self.s, self.e = (
            nn.Conv2d(width, 10, 1), nn.Conv2d(10, 4, 1), nn.Conv2d(4, 10, 1)
        )  # fmt: skip
        return 10

    def middle(self, x):
        x = F.silu(self.a(x))
        return x * self.e(self.s(F.adaptive_avg_pool2d(x, 1)).relu()).sigmoid()


class Flattened(Net):
    def __init__(self) -> None:
        super().__init__(8)
        self.last = nn.Linear(8 * 4, 5)

    def forward(self, x):
        return self.last(F.avg_pool2d(self.first(x).relu(), 4).flatten(1))


class Shuffled(Net):
    """Two units of ShuffleNetV2: halves, one of which passes, and the channels in turn."""

    def build(self, width: int) -> int:
        self.a, self.b = nn.Conv2d(width // 2, width // 2, 1), nn.Conv2d(width // 2, width // 2, 1)
        return width

    def _unit(self, x, layer):
        left, right = x.chunk(2, dim=1)
        x = torch.cat([left, layer(right).relu()], 1)
        n, channels, height, width = x.shape
        return x.view(n, 2, channels // 2, height, width).transpose(1, 2).reshape(x.shape)

    def middle(self, x):
        return self._unit(self._unit(x, self.a), self.b)


class Scaled(Net):
    """A block of ConvNeXt: its residual stream is normalised, its inner width is free."""

    def build(self, width: int) -> int:
        self.depth, self.norm = nn.Conv2d(width, width, 7, 1, 3, groups=width), nn.LayerNorm(width)
        self.a, self.b = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)
        self.gain = nn.Parameter(torch.rand(width))
        return width

    def middle(self, x):
        y = self.norm(self.depth(x).permute(0, 2, 3, 1))
        return x + (self.gain * self.b(F.gelu(self.a(y)))).permute(0, 3, 1, 2)


class Attention(nn.Module):
    """A transformer's block, its heads counted by their length."""

    def __init__(self, fused: bool) -> None:
        super().__init__()
        self.fused = fused
        self.patches, self.place = nn.Conv2d(3, 16, 4, 4), nn.Parameter(torch.rand(1, 4, 16))
        self.norm, self.qkv, self.out = nn.LayerNorm(16), nn.Linear(16, 48), nn.Linear(16, 16)
        self.a, self.b, self.last = nn.Linear(16, 24), nn.Linear(24, 16), nn.Linear(16, 5)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        n, tokens, _ = x.shape
        q, k, v = self.qkv(self.norm(x)).reshape(n, tokens, 3, -1, 4).permute(2, 0, 3, 1, 4)
        if self.fused:
            y = F.scaled_dot_product_attention(q, k, v)
        else:
            y = ((q @ k.transpose(-2, -1)) / 2).softmax(-1) @ v
        x = x + self.out(y.transpose(1, 2).reshape(n, tokens, -1))
        return self.last((x + self.b(F.gelu(self.a(x)))).mean(1))


class Counted(Attention):
    """The same, its heads counted by a number that the block holds."""

    def __init__(self) -> None:
        super().__init__(fused=True)
        self.num_heads = 4

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        n, tokens, _ = x.shape
        q, k, v = (
            self.qkv(self.norm(x)).view(n, tokens, 3, self.num_heads, 4).permute(2, 0, 3, 1, 4)
        )
        y = F.scaled_dot_product_attention(q, k, v).transpose(1, 2)
        return self.last((x + self.out(y.reshape(n, tokens, -1))).mean(1))


class Ready(Attention):
    """The same with PyTorch's own layer of attention."""

    def __init__(self) -> None:
        super().__init__(fused=True)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)

    def forward(self, x):
        x = self.patches(x).flatten(2).transpose(1, 2) + self.place
        y = self.norm(x)
        return self.last((x + self.attention(y, y, y, need_weights=False)[0]).mean(1))


class Chosen(Net):
    """Places in an embedding that are gathered from a buffer of numbers, as BERT does."""

    kinds: torch.Tensor
    places: torch.Tensor

    def build(self, width: int) -> int:
        self.register_buffer("kinds", torch.arange(6)[None] % 2)
        self.register_buffer("places", torch.arange(6)[None])
        self.embedding, self.a = nn.Embedding(2, width), nn.Conv2d(width, 6, 1)
        return 6

    def middle(self, x):
        kinds = torch.gather(
            self.kinds.expand(len(x), -1), 1, self.places[:, :4].expand(len(x), -1)
        )
        return self.a(x + self.embedding(kinds).mean(1)[:, :, None, None])


class Normed(Net):
    def build(self, width: int) -> int:
        self.norm, self.slope = nn.GroupNorm(4, width), nn.PReLU(width)
        return width

    def middle(self, x):
        return self.slope(self.norm(x))


class Padded(Net):
    """A shortcut that is filled up with zeros, as the ResNets for small images had."""

    def build(self, width: int) -> int:
        self.a = nn.Conv2d(width, width + 4, 1)
        return width + 4

    def middle(self, x):
        return self.a(x) + F.pad(x, (0, 0, 0, 0, 2, 2))


class Hidden(Net):
    """The code holds the number of channels."""

    def build(self, width: int) -> int:
        self.a = nn.Conv2d(width, 6, 1)
        return 6

    def middle(self, x):
        n, _, height, width = x.shape
        return self.a(x.reshape(n, 8, height * width).view(n, 8, height, width))


class Summed(Net):
    """An operation over channels that cannot be followed."""

    def middle(self, x):
        return torch.cumsum(x, 1)


def trained(network: nn.Module) -> nn.Module:
    """Give norms statistics of their own, as training would."""
    with torch.no_grad():
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                assert part.running_mean is not None
                assert part.running_var is not None
                part.running_mean.uniform_(-1, 1)
                part.running_var.uniform_(0.5, 2)
                part.weight.uniform_(0.5, 2)
                part.bias.uniform_(-1, 1)
    return network.eval()
