"""Changes to JSON, YAML and .safetensors files that leave most of their structure whole."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

import yaml

from .mutate_bytes import mutate_bytes, number, text

_SNIPPETS = (
    "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{chr(b)}: &{chr(b)} [{', '.join(['*' + chr(b - 1)] * 9)}]\n" for b in range(98, 110)
    ),
    "model: &m {name: &n [x, x, x, x, x, x, x, x]}\nprune:\n" + "".join(
        f"  {chr(b)}: &{chr(b)} [{', '.join(['*' + ('n' if b == 97 else chr(b - 1))] * 8)}]\n"
        for b in range(97, 109)
    ) + "  pattern: *l\n",
    "prune: {pattern: [&a [x, x, x, x, x, x, x, x, x], " + ", ".join(
        f"&{chr(b)} [{', '.join(['*' + chr(b - 1)] * 9)}]" for b in range(98, 112)
    ) + "]}\n",
    "a: &a {x: 1, y: 2}\n" + "".join(
        f"{chr(b)}: &{chr(b)} {{<<: [{', '.join(['*' + chr(b - 1)] * 9)}]}}\n"
        for b in range(98, 115)
    ),
    "m: &m {a: 1}\n<<: [*m, *m]\n<<: *m\n", "x: !!python/object/apply:os.system ['echo']\n",
    "run: !!python/name:os.system\n", "[" * 3000, "{a: " * 2000, "? [a, b]\n: c\n", "\t- x\n",
    "prune: {sparsity: 0x" + "f" * 20_000 + "}\n", "prune: {sparsity: " + "9" * 20_000 + "}\n",
    "prune: {steps: " + ":".join(["59"] * 4000) + "}\n", "run: {seed: 2001-99-99}\n",
    "run: {seed: 2001-01-01 00:00:00 +99:99}\n", "run: {seed: !!int ''}\n", "%YAML 9.9\n---\n",
    "run: {seed: !!float 'x'}\n", "run: {seed: !!binary '%'}\n", "run: {out: \"\\uD800\"}\n",
    "&a [*a]\n", "run: &r {seed: *r}\n", "--- 1\n--- 2\n", "prune: {include: !!set {a, b}}\n",
    "prune: {exclude: !!omap [a: 1]}\n", "!!pairs [a: 1]\n", "run: {seed: .nan}\n", "=: =\n",
)  # fmt: skip


def mutate_value(value: Any, rng: Random) -> Any:
    """Return a copy of a JSON-like value with one to three parts changed."""
    result = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        result = _mutate(result, rng, 0)
    return result


def mutate_json(content: bytes, rng: Random) -> bytes:
    """Change a value, or the text, of a JSON document."""
    if rng.random() < 0.25:
        return mutate_bytes(content, rng)
    changed = json.dumps(mutate_value(json.loads(content), rng), ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.05:
        changed = changed.replace("{", '{"schema": 1, ', 1)
    if rng.random() < 0.03:
        changed = changed.replace(":", ":" + "[" * rng.choice((10, 200, 100_000)), 1)
    return changed.encode("utf-8", "surrogatepass")


def mutate_yaml(content: bytes, rng: Random) -> bytes:
    """Change a value, or the text, of a YAML document, or put a treacherous piece into it."""
    kind = rng.random()
    if kind < 0.3:
        return mutate_bytes(content, rng)
    if kind < 0.5:
        snippet = rng.choice(_SNIPPETS).encode("utf-8", "surrogatepass")
        lines = content.splitlines(keepends=True)
        at = rng.randrange(len(lines) + 1)
        return rng.choice((snippet, b"".join([*lines[:at], snippet, *lines[at:]])))
    value = mutate_value(yaml.safe_load(content), rng)
    return yaml.safe_dump(value, allow_unicode=rng.random() < 0.5).encode("utf-8", "replace")


def mutate_safetensors(content: bytes, rng: Random) -> bytes:
    """Change the header, its length, or the bytes of a .safetensors file."""
    kind = rng.random()
    if kind < 0.35:
        return mutate_bytes(content, rng)
    length = int.from_bytes(content[:8], "little")
    header = content[8 : 8 + length]
    if kind < 0.45:
        return (number(rng, length) % 2**64).to_bytes(8, "little") + content[8:]
    header = mutate_json(header, rng)
    if rng.random() < 0.7:
        length = len(header)
    return length.to_bytes(8, "little") + header + content[8 + length :]


def _mutate(value: Any, rng: Random, depth: int) -> Any:
    """Go down a random way and change what is there."""
    if depth < 6 and isinstance(value, dict) and value and rng.random() < 0.85:
        key = rng.choice(list(value))
        _change_entry(value, key, rng, depth)
        return value
    if depth < 6 and isinstance(value, list) and value and rng.random() < 0.85:
        at = rng.randrange(len(value))
        kind = rng.randrange(5)
        if kind == 0:
            del value[at]
        elif kind == 1:
            value.insert(at, copy.deepcopy(rng.choice(value)))
        else:
            value[at] = _mutate(value[at], rng, depth + 1)
        return value
    return _other(value, rng)


def _change_entry(value: dict[Any, Any], key: Any, rng: Random, depth: int) -> None:
    kind = rng.randrange(8)
    if kind == 0:
        del value[key]
    elif kind == 1:
        value[text(rng)] = value.pop(key)
    elif kind == 2:
        value[text(rng)] = copy.deepcopy(value[key])
    elif kind == 3:
        value[key] = copy.deepcopy(value[rng.choice(list(value))])
    else:
        value[key] = _mutate(value[key], rng, depth + 1)


def _other(value: Any, rng: Random) -> Any:
    if isinstance(value, int) and rng.random() < 0.5:
        return number(rng, int(value))
    if isinstance(value, str) and value and rng.random() < 0.3:
        at = rng.randrange(len(value))
        return value[:at] + text(rng) + value[at:]
    choices: list[Any] = [
        None, True, False, [], {}, [[]], {"a": None}, number(rng), text(rng), 0.5, -0.0, 1e308,
        float("inf"), float("nan"), 10**400, [number(rng)] * 40, [text(rng)] * 3,
    ]  # fmt: skip
    return rng.choice(choices)
