"""The section ``prune`` of a recipe: what is pruned, how much of it, and by which mathematics."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator, model_validator

from .pattern import CHANNEL, parse_pattern
from .search import SearchSettings
from .values import Names, Section, Share, as_ratio

Block = Literal["layer", "network"] | Annotated[int, Field(gt=0)]

_ONESHOT: dict[str, Any] = {
    "criterion": "magnitude",
    "update": "refit",
    "recompute": 8,
    "refit_samples": 512,
    "refit_positions": 48,
    "correction": "weights",
    "correction_steps": 100,
}
PRESETS: dict[str, dict[str, Any]] = {
    "oneshot": _ONESHOT,
    "thorough": {**_ONESHOT, "recompute": 16, "correction_steps": 600},
}
"""Values that a preset puts in the place of the defaults; docs/benchmarks.md has the measurements
that they come from."""

OWN_WAY = ("preset", "criterion", "update", "update_scale", "swaps", "tune_damping")
"""Keys that say how weights are chosen and updated: a recipe with one of them has its own way."""


class PruneSettings(Section):
    """What is pruned, how much of it, and by which criterion."""

    preset: Literal["standard", "thorough", "oneshot"] = Field(
        "standard",
        description="other defaults; oneshot: refits and a short distillation without labels, "
        "the default without fine-tuning; thorough: more of both, for more accuracy",
    )
    sparsity: float | None = Field(0.9, gt=0, lt=1, description="pruned / total prunables")
    criterion: Literal[
        "woodfisher", "woodtaylor", "mfac", "kfac", "diag-fisher", "magnitude", "random"
    ] = Field("woodfisher", description="what scores weights: docs/method.md lists all seven")
    update: Literal["none", "single", "joint", "refit"] = Field(
        "joint",
        description="change of the kept weights that makes up for the pruned ones; refit: least "
        "squares of each layer towards the dense network's outputs",
    )
    refit_samples: int = Field(1024, gt=0, description="samples of a refit; no labels are read")
    refit_positions: int = Field(
        96, gt=0, description="positions of each sample that a refit uses in each layer"
    )
    update_scale: float = Field(1.0, gt=0, le=2, description="factor on that change")
    correction_steps: int = Field(
        0,
        ge=0,
        description="steps of gradient descent towards the dense network's outputs after the last "
        "refit of a prune step; no labels are read",
    )
    correction: Literal["vectors", "weights"] = Field(
        "vectors",
        description="what those steps move; vectors: biases and normalisation; weights: all kept "
        "weights too, which is training (distillation)",
    )
    pattern: Annotated[str, BeforeValidator(as_ratio)] = Field(
        "unstructured", description="zeros: unstructured, channel, N:M, block:K:in or :out"
    )
    channel_multiple: int = Field(
        8, gt=0, description="channel: widths that are cut are multiples of this many channels"
    )
    channel_cost: Literal["macs", "weights", "ms"] | None = Field(
        None,
        description="channel: what the loss of a channel is divided by: what it frees in MACs, in "
        "weights, or in ms measured in ONNX Runtime; default: what the target counts",
    )
    channel_least: int = Field(
        1, gt=0, description="channel: least number of channels that a width is cut down to"
    )
    then: Annotated[str | None, BeforeValidator(as_ratio)] = Field(
        None, description="channel: pattern of the zeros in what is left, after the last step"
    )
    then_sparsity: float | None = Field(
        None, gt=0, lt=1, description="channel: share of what is left that goes by then"
    )
    allocation: Literal["global", "uniform", "erk", "flops", "latency"] = Field(
        "global", description="how layers share the sparsity: global, uniform, erk, flops, latency"
    )
    target_speedup: float | None = Field(None, gt=1, description="dense / sparse-cpu time to reach")
    layers: dict[str, Share] = Field(
        default_factory=dict, description="sparsity of named layers (glob patterns)"
    )
    min_kept: Share = Field(0.0, description="share of its weights that every layer keeps")
    cost_power: float = Field(
        1.0, ge=0, description="flops: losses are divided by cost to this power"
    )
    max_macs: float | None = Field(
        None, gt=0, lt=1, description="flops, channel: share of the dense MACs that is left"
    )
    schedule: Literal["cubic", "linear"] = Field("cubic", description="sparsity over the steps")
    steps: int | None = Field(None, gt=0, description="prune steps; default: half the epochs")
    recompute: int = Field(1, gt=0, description="sub-steps with fresh gradients in each prune step")
    spacing: Literal["geometric", "linear", "cubic"] = Field(
        "geometric", description="sparsity over the sub-steps"
    )
    reselect: bool = Field(True, description="choose the masks anew in each sub-step")
    regrow: bool = Field(False, description="let pruned weights come back")
    swaps: int = Field(
        0, ge=0, description="rounds of exchanging weights while the predicted loss falls"
    )
    gradients: int = Field(256, gt=0, description="N, rows of the gradient bank")
    fisher_batch: int = Field(8, gt=0, description="samples averaged in one gradient")
    micro_batch: int | None = Field(
        None, gt=0, description="samples that pass through the network at a time"
    )
    fisher_labels: Literal["data", "model"] = Field(
        "data", description="data: empirical Fisher; model: labels drawn from the network's scores"
    )
    damping: float = Field(1e-5, gt=0, description="added to the Fisher's diagonal")
    relative_damping: float | None = Field(
        None, gt=0, description="damping as a share of the mean diagonal instead"
    )
    tune_damping: bool = Field(
        False, description="choose the dampings in each sub-step on held-back samples"
    )
    held_back: int = Field(1000, gt=0, description="samples that measure the loss, not in the bank")
    taylor_damping: float = Field(0.3, gt=0, description="damping of woodtaylor's Newton step")
    block: Block = Field(
        "layer", description="weights treated as correlated: a number of them, layer, or network"
    )
    include: Names = Field(["*"], description="names (glob patterns) of the weights to prune")
    exclude: Names = Field(
        ["first-conv", "last-linear"],
        description="names (glob patterns) to leave dense; [] = none",
    )
    refresh_batchnorm: bool = Field(
        False, description="re-estimate batch-norm statistics after each prune step"
    )
    fisher_precision: Literal["float64", "float32"] = Field(
        "float64", description="in which the Fisher is formed and factored"
    )
    fisher_memory: str | None = Field(
        None, description="budget of the gradient bank, such as 8GiB; default: half of what is free"
    )
    fisher_place: Literal["auto", "device", "host", "disk", "passes"] = Field(
        "auto", description="where the bank is; passes: gradients computed again for each group"
    )
    fisher_storage: Literal["auto", "float32", "bfloat16"] = Field(
        "auto", description="number format of the bank"
    )
    search: SearchSettings | None = Field(
        None,
        description="for `wfpipe search`: goal, target_latency_ms, target_macs, trials "
        "(docs/search.md)",
    )

    @field_validator("pattern", "then")
    @classmethod
    def _check_pattern(cls, value: str | None) -> str | None:
        if value is not None:
            parse_pattern(value)
        return value

    @model_validator(mode="before")
    @classmethod
    def _fill_in(cls, values: Any) -> Any:
        """Put under what is set a preset, the sparsity of N:M, and what a target of time means."""
        if not isinstance(values, Mapping):
            return values
        preset, whole = values.get("preset"), as_ratio(values.get("pattern")) == CHANNEL
        chosen = PRESETS.get(preset, {}) if isinstance(preset, str) else {}
        if whole:  # magnitude says little about a group of hundreds of weights
            chosen = {key: value for key, value in chosen.items() if key != "criterion"}
        filled = {**chosen, **values}
        if filled.get("target_speedup") is not None and not whole:
            filled = {"allocation": "latency", "sparsity": None, **filled}
        pattern = as_ratio(filled.get("pattern"))
        if whole:
            filled = _for_channels(filled)
        if isinstance(pattern, str) and ":" in pattern and "sparsity" not in filled:
            kept, _, size = pattern.partition(":")
            if kept.isdecimal() and size.isdecimal() and 0 < int(kept) < int(size):
                filled["sparsity"] = 1 - int(kept) / int(size)
        return filled

    @model_validator(mode="after")
    def _check_together(self) -> PruneSettings:
        """Refuse settings that contradict each other, rather than leave one without effect."""
        correlated = self.criterion in ("woodfisher", "woodtaylor", "mfac")
        if self.swaps and not (
            correlated and self.update == "joint" and self.update_scale == 1
            and self.pattern == "unstructured" and self.reselect
        ):  # fmt: skip
            raise ValueError(
                "swaps need criterion woodfisher, woodtaylor or mfac, update=joint, "
                "update_scale=1, pattern=unstructured and reselect=true"
            )
        if self.update == "refit" and (self.update_scale != 1 or self.tune_damping):
            raise ValueError(
                "update=refit takes neither update_scale nor tune_damping: least squares leave "
                "nothing to scale; leave them out, or take update=joint"
            )
        if self.correction_steps and self.update != "refit":
            raise ValueError(f"correction_steps needs update=refit, got {self.update}")
        if self.correction == "weights" and not self.correction_steps:
            raise ValueError("correction=weights needs correction_steps, got 0")
        if self.tune_damping and self.criterion in ("magnitude", "random"):
            raise ValueError(f"tune_damping needs a criterion with a damping, got {self.criterion}")
        if self.pattern == CHANNEL:
            self._check_channels()
        elif self.max_macs is not None and self.allocation != "flops":
            raise ValueError(f"max_macs needs allocation=flops, got {self.allocation}")
        for key in ("channel_cost", "channel_multiple", "channel_least", "then", "then_sparsity"):
            if self.pattern != CHANNEL and getattr(self, key) != _default(key):
                raise ValueError(f"{key} needs pattern=channel, got {self.pattern}")
        if self.pattern != CHANNEL:
            self._check_target()
        pattern = parse_pattern(self.pattern)
        if pattern.kept and abs(self.final_sparsity - (1 - pattern.kept / pattern.length)) > 1e-6:
            raise ValueError(
                f"pattern {self.pattern} gives sparsity {1 - pattern.kept / pattern.length:g}, "
                f"got prune.sparsity={self.sparsity}: leave it out"
            )
        return self

    @property
    def final_sparsity(self) -> float:
        """The sparsity in the end; under ``target_speedup``, once a plan has found it.

        Where ``max_macs`` says how many channels go, it is the share of the MACs that goes.
        """
        if self.sparsity is None and self.pattern == CHANNEL and self.max_macs is not None:
            return 1 - self.max_macs
        if self.sparsity is None:
            raise AssertionError("the sparsity follows from a plan that is not there yet")
        return self.sparsity

    def _check_channels(self) -> None:
        """Refuse what means nothing for whole channels."""
        if self.update not in ("none", "refit"):
            raise ValueError(f"pattern=channel takes update=none or refit, got {self.update}")
        able = ("woodfisher", "woodtaylor", "diag-fisher", "magnitude")
        if self.criterion not in able:
            raise ValueError(
                f"pattern=channel takes criterion {', '.join(able)}, got {self.criterion}"
            )
        if (self.sparsity is None) == (self.max_macs is None):
            raise ValueError(
                "pattern=channel takes one of max_macs (share of the MACs that is left) and "
                f"sparsity (share of the weights that goes), got max_macs={self.max_macs} and "
                f"sparsity={self.sparsity}"
            )
        if self.then_sparsity is not None and self.then is None:
            raise ValueError("then_sparsity needs then, the pattern of the zeros")
        if self.then is not None:
            self.afterwards()
        without = ("allocation", "layers", "swaps", "regrow", "reselect", "tune_damping")
        for key in without:
            if getattr(self, key) != _default(key):
                raise ValueError(
                    f"pattern=channel takes no {key}, got {getattr(self, key)}: leave it out"
                )

    def afterwards(self) -> PruneSettings:
        """Return the settings of the step that ``then`` asks for, on what channels have left.

        Raises:
            ValueError: when they contradict each other.
        """
        if self.then == CHANNEL or self.then is None:
            raise ValueError(
                f"then must be unstructured, N:M or block:K:in or :out, got {self.then}"
            )
        kept = parse_pattern(self.then).kept
        if (self.then_sparsity is None) == (not kept):
            raise ValueError(
                f"then={self.then} "
                + (
                    "fixes the sparsity: leave then_sparsity out"
                    if kept
                    else "needs then_sparsity, the share of what is left that goes"
                )
            )
        own = {"pattern", "sparsity", "max_macs", "target_speedup", "then", "then_sparsity",
               "channel_cost", "channel_multiple", "channel_least"}  # fmt: skip
        values = self.model_dump(exclude=own)
        target = {} if kept else {"sparsity": self.then_sparsity}
        return PruneSettings(**{**values, **target, "pattern": self.then})

    def _check_target(self) -> None:
        """Refuse a target of time together with what contradicts it, and each without the other."""
        target = self.target_speedup
        if (target is None) == (self.allocation == "latency"):
            raise ValueError(
                "target_speedup and allocation=latency need each other, "
                f"got target_speedup={target} and allocation={self.allocation}"
            )
        if target is None and self.sparsity is None:
            raise ValueError("sparsity must be a number unless target_speedup is set, got null")
        if target is not None and self.sparsity is not None:
            raise ValueError(
                f"target_speedup={target:g} finds the sparsity of each layer itself, "
                f"got sparsity={self.sparsity:g} beside it: leave one of the two out"
            )
        if target is not None and parse_pattern(self.pattern).kept:
            raise ValueError(
                f"target_speedup varies the sparsity of layers, pattern {self.pattern} fixes it: "
                "leave one of the two out"
            )


def _default(key: str) -> Any:
    return PruneSettings.model_fields[key].get_default(call_default_factory=True)


def _for_channels(values: dict[str, Any]) -> dict[str, Any]:
    """Return the values over the defaults of pattern=channel: half of the MACs, refitted.

    A width is cut in all layers that share it, so that no layer is left out unless asked for. A
    search for a share of the MACs begins with that share.
    """
    search = values.get("search")
    sought = search.get("target_macs") if isinstance(search, Mapping) else None
    share = 0.5 if sought is None else sought
    target = {} if values.get("sparsity") is not None else {"sparsity": None, "max_macs": share}
    usual = {"update": "refit", "exclude": []}
    given = {key: value for key, value in values.items() if key != "sparsity" or value is not None}
    return {**target, **usual, **given}
