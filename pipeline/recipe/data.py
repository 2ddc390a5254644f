"""The section ``data`` of a recipe: where samples come from and how they are prepared."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from ...exporters.documents.preprocessing import Background, Interpolation
from .values import Channels, PositiveInts, Section, split

Augmentation = Literal["crop", "flip", "resized-crop"]


class DataSettings(Section):
    """Where samples come from and how they are prepared."""

    source: str = Field(
        "digits", description="digits, image folder, FILE.npz, hf:, wds:, FILE.py:FACTORY"
    )
    mean: Channels = Field([0.0], description="subtracted per channel, of values in [0, 1]")
    std: Channels = Field([1.0], description="divided by, per channel")
    size: PositiveInts | None = Field(
        None,
        description="height and width in pixels that images are resized to; one number with crop: "
        "the short side",
    )
    crop: PositiveInts | None = Field(
        None, description="height and width of the centre that is cut out after resizing"
    )
    interpolation: Interpolation = Field(
        "bilinear", description="of resizing, antialiased: nearest, box, bilinear, bicubic, lanczos"
    )
    channels: Literal[1, 3] | None = Field(
        None, description="1: images to gray; 3: to RGB; null: as they are"
    )
    white: float | None = Field(
        None, gt=0, description="value that is white in images of more than 8 bits, such as 65535"
    )
    background: Background | None = Field(
        None, description="white or black under transparent images; null: transparency is left out"
    )
    augment: Annotated[list[Augmentation], BeforeValidator(split)] = Field(
        [], description="of the training images: crop, flip, resized-crop"
    )
    crop_padding: int = Field(4, ge=0, description="pixels of padding before a random crop")
    batch: int = Field(128, gt=0, description="samples per training batch")
    workers: int = Field(0, ge=0, description="processes that decode images")
    limit_train: int | None = Field(None, gt=0, description="training samples used, stratified")
    limit_test: int | None = Field(None, gt=0, description="test samples used, stratified")
    columns: dict[str, str] = Field(
        default_factory=dict,
        description="of hf: data, by use: label; image, or text and text_pair, or inputs by name",
    )
    tokenizer: str | None = Field(
        None, description="hf: model whose tokenizer makes tokens of text; null: that of the model"
    )
    tokens: int | None = Field(
        None, gt=0, description="tokens of each text, cut or filled up; null: 128 at most"
    )
    skip_bad_images: bool = Field(False, description="leave out images that cannot be read")

    @model_validator(mode="after")
    def _check(self) -> DataSettings:
        if any(value <= 0 for value in self.std):
            raise ValueError(f"std must be > 0, got {self.std}")
        if 1 != len(self.mean) != len(self.std) != 1:
            raise ValueError(f"mean has {len(self.mean)} values and std {len(self.std)}")
        for key in ("size", "crop"):
            if len(getattr(self, key) or []) > 2:
                raise ValueError(
                    f"{key} is one number or height and width, got {getattr(self, key)}"
                )
        if {"crop", "resized-crop"} <= set(self.augment):
            raise ValueError("augment takes crop or resized-crop, not both")
        return self
