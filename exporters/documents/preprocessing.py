"""What happens to a sample between the file it came in and the network: one place for all users."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, PositiveInt, model_validator

if TYPE_CHECKING:
    from torch import Tensor


Interpolation = Literal["nearest", "box", "bilinear", "bicubic", "lanczos"]
Background = Literal["black", "white"]


class ImageRules(BaseModel):
    """How an image becomes pixels of the network's size, after its EXIF orientation is obeyed."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    resize: tuple[PositiveInt] | tuple[PositiveInt, PositiveInt] | None = Field(
        default=None,
        description="what the short side, or height and width, are resized to before the crop; "
        "null: nothing before a crop, and without a crop height and width of the shape",
    )
    crop: bool = Field(default=False, description="whether the centre is cut out, of the shape")
    interpolation: Interpolation = Field(
        default="bilinear", description="of resizing, antialiased as Pillow does"
    )
    white: Annotated[FiniteFloat, Field(gt=0)] | None = Field(
        default=None, description="the value that is white in images of more than 8 bits"
    )
    background: Background | None = Field(
        default=None,
        description="what transparent images are laid on; null: the transparency is left out",
    )


class Preprocessing(ImageRules):
    """The preparation of a batch: images become values in [0, 1]; then mean and std per channel.

    ``kind`` is ``"image"`` (uint8 pixels, channels × height × width) or ``"features"`` (floats of
    any shape, taken as they are before mean and std). ``shape`` is that of one prepared sample,
    without the batch. ``mean`` and ``std`` hold one value, or one for each channel.
    """

    kind: Literal["image", "features"]
    shape: tuple[int, ...]
    mean: tuple[FiniteFloat, ...] = (0.0,)
    std: tuple[Annotated[FiniteFloat, Field(gt=0)], ...] = (1.0,)

    @model_validator(mode="after")
    def _check(self) -> Preprocessing:
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count != 1 and self.shape[:1] != (count,):
                raise ValueError(f"{name} must be one number or one for each channel, got {count}")
        return self

    def prepare(self, batch: Tensor) -> Tensor:
        """Return the float32 input of the network for ``batch`` (n, *shape), uint8 or float."""
        import torch

        values = batch.to(torch.float32)
        if self.kind == "image":
            values = values / 255.0
        per_channel = (1, -1) + (1,) * (values.dim() - 2)
        mean = torch.tensor(self.mean, device=values.device).view(per_channel)
        std = torch.tensor(self.std, device=values.device).view(per_channel)
        return (values - mean) / std
