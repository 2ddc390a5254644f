"""Hold preparation against torchvision's transforms, and what is taken from timm against timm."""

from __future__ import annotations

import numpy as np
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_data_config
from torchvision import models
from torchvision.transforms import functional as F

from wfpipe.exporters.documents.preprocessing import ImageRules
from wfpipe.models.published import published_preparation
from wfpipe.pipeline.data.preparation.images import fitted

IMAGES = 100
TORCHVISION = ("resnet50", "efficientnet_b0", "vit_b_16", "convnext_tiny", "regnet_y_400mf")
TIMM = ("resnet50.a1_in1k", "vit_small_patch16_224", "convnext_tiny", "mobilenetv3_small_100")


def pictures() -> list[Image.Image]:
    random = np.random.default_rng(0)
    sizes = random.integers(30, 500, (IMAGES, 2))
    return [Image.fromarray(random.integers(0, 256, (h, w, 3), np.uint8)) for h, w in sizes]


def largest_difference(name: str, transform: object) -> float:
    """Return the largest difference over all pictures, in grey levels."""
    how = published_preparation(name)
    rules = ImageRules(resize=tuple(how["size"]), crop=True, interpolation=how["interpolation"])
    crop = (how["crop"][0], how["crop"][-1])
    worst = 0.0
    for picture in pictures():
        own = F.pil_to_tensor(fitted(picture, crop, rules)).double()
        other = transform(picture)  # type: ignore[operator]
        mean, std = (torch.tensor(how[key]).view(-1, 1, 1) for key in ("mean", "std"))
        levels = (other * std + mean).double() * 255
        worst = max(worst, float((levels - own).abs().max()))
    return worst


def main() -> None:
    found = {}
    for name in TORCHVISION:
        transform = models.get_model_weights(name).DEFAULT.transforms()
        found[f"torchvision:{name}"] = largest_difference(f"torchvision:{name}", transform)
    for name in TIMM:
        config = resolve_data_config({}, pretrained_cfg=timm.get_pretrained_cfg(name).to_dict())
        transform = create_transform(**config, is_training=False)
        found[f"timm:{name}"] = largest_difference(f"timm:{name}", transform)
    for name, difference in found.items():
        print(f"{name}: {difference:.3f} grey levels at most, {IMAGES} images of odd sizes")
    assert max(found.values()) <= 1.01, found
    print(f"figure: {max(found.values()):.3f}")


if __name__ == "__main__":
    main()
