"""The default recipe in words: every key with what it means."""

from __future__ import annotations

import yaml

from .recipe import Recipe, section_models


def describe_defaults() -> str:
    """Return the default recipe as YAML, each key with a comment that says what it means."""
    lines = []
    for section, model in section_models().items():
        lines += [f"# {model.__doc__}", f"{section}:"]
        defaults = Recipe().to_dict()[section]
        for key, field in model.model_fields.items():
            value = yaml.safe_dump(defaults[key], default_flow_style=True, width=1000)
            entry = f"  {key}: {value.removesuffix('...' + chr(10)).strip()}"
            lines.append(f"{entry:<36}  # {field.description}")
        lines.append("")
    return "\n".join(lines).rstrip()
