from __future__ import annotations

import pytest
import torch
from torch import nn

from wfpipe.models.residual import BasicBlock, BlockType, Bottleneck, stage


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_a_block_whose_branch_is_zero_passes_its_input_through(block: BlockType) -> None:
    width = 8 // block.expansion
    module = block(8, width, 1)
    for name, layer in module.named_children():
        if isinstance(layer, nn.Conv2d):
            nn.init.zeros_(layer.weight)
        assert name != "downsample"
    x = torch.rand(2, 8, 5, 5)
    assert torch.equal(module.eval()(x), x)


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_only_the_first_block_of_a_stage_changes_the_shape(block: BlockType) -> None:
    module = stage(block, 6, 4, blocks=3, stride=2)
    shapes = []
    x = torch.rand(2, 6, 8, 8)
    for part in module:
        x = part(x)
        shapes.append(tuple(x.shape))
    assert shapes == [(2, 4 * block.expansion, 4, 4)] * 3
    assert [part.downsample is None for part in module] == [False, True, True]
