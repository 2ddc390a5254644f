"""Fitting tensors to a network by name, whatever was wrapped around either when it was saved."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..support.errors import InputError
from ..support.names import short_name, some_names
from .weights import is_averaged

# Wrappers that stand anywhere in a name: torch.compile, FSDP, activation checkpoints.
_PARTS = ("_orig_mod.", "_fsdp_wrapped_module.", "_checkpoint_wrapped_module.")
_TRIED = 8  # prefixes of a checkpoint that are tried, those with the most names first


@dataclass(frozen=True)
class _Network:
    """What a network wants: tensors by unwrapped name, those it computes itself, those tied."""

    names: Mapping[str, str]  # unwrapped to own
    wanted: Mapping[str, Tensor]
    computed: Mapping[str, Tensor]
    ties: list[list[str]]


@dataclass(frozen=True)
class _Match:
    """How names are brought together: ``drop`` goes from those given, ``add`` stands before."""

    drop: str = ""
    add: str = ""

    def rename(self, given: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the tensors under the prefix ``drop``, named as in the network."""
        return {
            self.add + name.removeprefix(self.drop): value
            for name, value in given.items()
            if name.startswith(self.drop)
        }


def fit_state_dict(
    module: nn.Module, state: Mapping[str, Tensor], source: str, *, averaged: bool = True
) -> tuple[str, ...]:
    """Copy ``state`` into the parameters and buffers of ``module``, in the module's precision.

    The names must match one to one. What is taken beyond that: one prefix before the network's
    names in ``state``, where what stands outside of it is not the network's, or one before all
    names of the network; the parts that ``torch.compile`` and FSDP add to names;
    ``num_batches_tracked`` missing; a tied tensor given once; a buffer that the network computes
    itself; masks of ``torch.nn.utils.prune``, which are applied.

    Args:
        module: the network; unchanged when this raises.
        state: tensors by name, as :func:`.weights.read_weights` returns them.
        source: where the tensors came from, for the error.
        averaged: where the network is in ``state`` under two prefixes, whether that of the
            average (``ema``) is meant.

    Returns:
        what a user is told of how they were fitted.

    Raises:
        InputError: listing the names that are missing, unexpected, of another shape or kind; or
            when the network is there more than once.
    """
    network = _describe(module)
    given = {_unwrapped(name): value for name, value in state.items()}
    given, masked = _with_masks(given, network)
    match = _find_match(given, network, source, averaged)
    fitted = match.rename(given)
    _check_fit(fitted, network, source)
    own = {network.names.get(name, name): value for name, value in fitted.items()}
    module.load_state_dict(own, strict=False)
    outside = [name for name in given if not name.startswith(match.drop)]
    return tuple(_notes(match, outside, masked))


def _describe(module: nn.Module) -> _Network:
    own = {name: value for name, value in module.state_dict().items() if isinstance(value, Tensor)}
    names = {_unwrapped(name): name for name in own}
    groups = defaultdict(list)
    for name, parameter in module.named_parameters(remove_duplicate=False):
        groups[id(parameter)].append(_unwrapped(name))
    return _Network(
        names,
        {short: own[name] for short, name in names.items()},
        {n: buffer for n, buffer in module.named_buffers() if n not in own},
        [group for group in groups.values() if len(group) > 1],
    )


def _unwrapped(name: str) -> str:
    for part in _PARTS:
        name = name.replace(part, "")
    return name


def _with_masks(
    given: Mapping[str, Tensor], network: _Network
) -> tuple[dict[str, Tensor], list[str]]:
    """Apply the masks of ``torch.nn.utils.prune``; return too to what they were applied."""
    if any(name.endswith("_orig") for name in network.names):
        return dict(given), []
    masked = [
        name.removesuffix("_orig")
        for name, value in given.items()
        if name.endswith("_orig")
        and (mask := given.get(name.removesuffix("_orig") + "_mask")) is not None
        and mask.shape == value.shape
    ]
    parts = {name + part for name in masked for part in ("_orig", "_mask")}
    products = {name: given[name + "_orig"] * given[name + "_mask"] for name in masked}
    return {n: value for n, value in given.items() if n not in parts} | products, masked


def _find_match(
    given: Mapping[str, Tensor], network: _Network, source: str, averaged: bool
) -> _Match:
    """Return the prefixes with which all names fit, or with which most of them match."""
    votes: Counter[_Match] = Counter({_Match(): 0})
    for add in ("", *_shared_prefixes(network.wanted)):
        inner = {name.removeprefix(add) for name in network.wanted}
        for name in given:
            votes.update(
                _Match(drop, add) for drop in _prefixes(name) if name[len(drop) :] in inner
            )
    tried = sorted(votes, key=lambda match: (-votes[match], match.add, match.drop))[:_TRIED]
    fits = [m for m in (_Match(), *tried) if not _problems(m.rename(given), network)]
    if not fits:
        return tried[0]
    if _Match() in fits:
        return _Match()
    fits = [match for match in fits if match.add == fits[0].add]
    chosen = [match for match in fits if is_averaged(match.drop) == averaged] or fits
    if len({match.drop for match in chosen}) > 1:
        raise InputError(
            f"{source} holds the network under the prefixes "
            f"{' and '.join(repr(short_name(match.drop)) for match in chosen)}: save the state "
            "dict of the one that is meant alone, and pass that"
        )
    return chosen[0]


def _prefixes(name: str) -> Iterable[str]:
    """Yield the beginnings of a name that end with a dot, and the empty one."""
    yield ""
    yield from (name[: place + 1] for place, letter in enumerate(name) if letter == ".")


def _shared_prefixes(names: Iterable[str]) -> list[str]:
    shared: set[str] | None = None
    for name in names:
        own = set(_prefixes(name))
        shared = own if shared is None else shared & own
    return sorted((shared or set()) - {""}, key=len)


def _problems(given: Mapping[str, Tensor], network: _Network) -> dict[str, list[str]]:
    """Compare names, shapes and kinds of tensors; return the differences by what they are."""
    wanted, computed = network.wanted, network.computed
    tied = {name: group for group in network.ties for name in group}
    shared = {name: value for name, value in wanted.items() if name in given}
    found = {
        "missing": [
            name
            for name in wanted
            if name not in given
            and name.rpartition(".")[2] != "num_batches_tracked"
            and not any(other in given for other in tied.get(name, []))
        ],
        "unexpected": [
            name
            for name, value in given.items()
            if name not in wanted and not (name in computed and _same(value, computed[name]))
        ],
        "of another shape": [
            f"{name} {tuple(given[name].shape)} instead of {tuple(value.shape)}"
            for name, value in shared.items()
            if given[name].shape != value.shape
        ],
        "complex where the network is real": [
            name for name, value in shared.items() if given[name].is_complex() > value.is_complex()
        ],
        "tied in the network and different here": [
            " = ".join(group) for group in network.ties if not _agree(group, given)
        ],
    }
    return {kind: names for kind, names in found.items() if names}


def _agree(group: list[str], given: Mapping[str, Tensor]) -> bool:
    values = [given[name] for name in group if name in given]
    return all(_same(value, values[0]) for value in values[1:])


def _same(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.cpu(), other.cpu().to(one.dtype))


def _check_fit(given: Mapping[str, Tensor], network: _Network, source: str) -> None:
    problems = _problems(given, network)
    if problems:
        strange = given.keys().isdisjoint(network.wanted)
        hint = ", no name matches (weights of another architecture?)" if strange else ""
        found = [f"{len(names)} {kind}: {some_names(names)}" for kind, names in problems.items()]
        raise InputError(f"{source} does not fit the model{hint}: {'; '.join(found)}")


def _notes(match: _Match, outside: list[str], masked: list[str]) -> Iterable[str]:
    if match.drop:
        yield f"the prefix {short_name(match.drop)!r} is dropped from their names"
    if outside:
        yield f"outside of the prefix and left out: {some_names(outside)}"
    if match.add:
        yield f"the prefix {match.add!r} of the network's names is not in theirs"
    if masked:
        yield f"masks of torch.nn.utils.prune are applied: {some_names(masked)}"
