"""Making a split ready: which samples are used, whether they can be read, whether they are kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch

from ....support import one_copy
from ....support.errors import InputError
from ....support.progress import Reporter
from ..loader import Key
from ..randomness import permutation, stream
from ..sources.arrays import ArrayReader
from ..sources.image_folder import ImageFiles
from ..sources.reading import BadImageError, Split, Values
from .form import Form
from .samples import Samples, with_remedy
from .subset import stratified

_BATCH = 64

HEADERS = 20_000
"""Images of a split whose headers are checked before work starts (a heuristic: some seconds)."""


@dataclass(frozen=True)
class Rules:
    """How a split is made ready.

    ``limit`` samples are chosen with ``seed``; bad images are left out where ``skip_bad`` says so;
    ``workers`` processes read; ``cacheable`` allows a cache of at most ``budget`` bytes, ``common``
    puts it where other processes can read it too; ``classed`` says that targets are class indices,
    of which none may be lost.
    """

    limit: int | None
    seed: int
    skip_bad: bool
    workers: int
    cacheable: bool
    budget: int
    common: bool = False
    classed: bool = True


def settle(split: Split, form: Form, part: str, rules: Rules, reporter: Reporter) -> Samples:
    """Choose the samples of a split that are used, check them, and cache them where they fit.

    Images that are not cached are checked by their headers, of large splits a part, since decoding
    takes as long as a pass of training; with ``skip_bad`` they are decoded once, which is what
    finds the bad ones.

    Raises:
        InputError: when the limit is too low, a sample does not fit the form, or an image cannot
            be read and ``skip_bad`` is not set.
    """
    indices = _chosen(split, part, rules, reporter)
    samples = Samples(split.reader, indices, torch.from_numpy(split.targets[indices]), form)
    if isinstance(split.reader, ArrayReader) and split.reader.values.shape[1:] == form.shape:
        whole = len(indices) == len(split.reader)
        values = split.reader.values if whole else split.reader.values[indices]
        return replace(samples, cache=values)
    fits = len(samples) * form.bytes <= rules.budget
    if rules.cacheable and split.reader.fixed and fits:
        return _surveyed(samples, "keep", rules, part, reporter)
    reporter.detail(f"{part} samples are read anew in each pass")
    if rules.skip_bad:
        return _surveyed(samples, "decode", rules, part, reporter)
    if isinstance(split.reader, ImageFiles):
        return _surveyed(samples, "header", rules, part, reporter)
    return samples


def _chosen(split: Split, part: str, rules: Rules, reporter: Reporter) -> Key:
    count = len(split.targets)
    if rules.limit is None or rules.limit >= count:
        if rules.limit is not None and rules.limit > count:
            reporter.detail(f"data.limit_{part} is {rules.limit}: all {count} samples are used")
        return np.arange(count, dtype=np.int64)
    name = stream(rules.seed, f"limit-{part}")
    if not split.classed:
        return np.sort(permutation(name, count)[: rules.limit])
    classes = len(np.unique(split.targets))
    if rules.limit < classes:
        raise InputError(
            f"data.limit_{part} must be at least the number of classes ({classes}), "
            f"got {rules.limit}"
        )
    return stratified(split.targets, rules.limit, name)


@dataclass(frozen=True)
class _Survey:
    """Reads samples and notes the bad images: positions and messages."""

    samples: Samples
    look: Literal["keep", "decode", "header"]

    def __call__(self, positions: Key) -> tuple[Values, list[tuple[int, str]]]:
        values, bad = [], []
        for position in positions.tolist():
            try:
                value = self._look(position)
            except BadImageError as error:
                bad.append((position, str(error)))
                continue
            if value is not None:
                values.append(value)
        form = self.samples.form
        return np.stack(values) if values else np.empty((0, *form.shape), form.dtype), bad

    def _look(self, position: int) -> Values | None:
        if self.look != "header":
            value = self.samples.one(position, 0)
            return value if self.look == "keep" else None
        index = int(self.samples.indices[position])
        mode, shape = self.samples.reader.header(index)
        self.samples.form.check(mode, shape, self.samples.reader.name(index))
        return None


def _surveyed(
    samples: Samples,
    look: Literal["keep", "decode", "header"],
    rules: Rules,
    part: str,
    reporter: Reporter,
) -> Samples:
    """Read or check all samples; return them without the bad ones, cached if they were kept."""
    verb = "reading" if look == "keep" else "checking"
    unit = "image" if samples.form.kind == "image" else "sample"
    count = len(samples)
    positions = np.arange(count, dtype=np.int64)
    if look == "header" and count > HEADERS:
        positions = np.linspace(0, count - 1, HEADERS).astype(np.int64)
        count = HEADERS
        reporter.detail(
            f"{count} of {len(samples)} {part} images are checked, the others when read"
        )
    keys = [positions[start : start + _BATCH] for start in range(0, count, _BATCH)]
    kept = count if look == "keep" else 0
    room = one_copy.empty if rules.common else np.empty
    cache, filled = room((kept, *samples.form.shape), samples.form.dtype), 0
    bad: list[tuple[int, str]] = []
    found = samples.in_order(_Survey(samples, look), keys, workers=rules.workers)
    with reporter.task(f"{verb} {part} {unit}s", count, unit) as task:
        for key, (values, problems) in zip(keys, found, strict=True):
            if problems and not rules.skip_bad:
                raise with_remedy(BadImageError(problems[0][1]))
            cache[filled : filled + len(values)] = values
            filled += len(values)
            bad += problems
            task.advance(len(key))
    if bad:
        samples = _without(samples, bad, part, rules.classed, reporter)
    return replace(samples, cache=cache[:filled]) if look == "keep" else samples


def _without(
    samples: Samples, bad: list[tuple[int, str]], part: str, classed: bool, reporter: Reporter
) -> Samples:
    kept = np.ones(len(samples), bool)
    kept[[position for position, _ in bad]] = False
    targets = samples.targets[torch.from_numpy(kept)]
    if not len(targets):
        raise InputError(f"no image in {part} can be read; the first problem: {bad[0][1]}")
    if classed and (lost := sorted(set(samples.targets.tolist()) - set(targets.tolist()))):
        raise InputError(
            f"no image of class {lost[0]} in {part} can be read; the first problem: {bad[0][1]}"
        )
    reporter.warn(
        f"{len(bad)} of {len(samples)} {part} images are left out; the first: {bad[0][1]}"
    )
    return replace(samples, indices=samples.indices[kept], targets=targets)
