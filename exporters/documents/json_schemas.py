"""JSON Schemas of the documents that wfpipe writes, for programs that read them.

They ship beside this module, in ``schemas/``. After a change of a document, write them anew:

    python -m wfpipe.exporters.documents.json_schemas
"""

from __future__ import annotations

import json
from importlib import resources
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from ...support.files import write_json
from .manifest import Manifest
from .profile import Profile
from .report import Report
from .search import Search

DIALECT = "https://json-schema.org/draft/2020-12/schema"
DOCUMENTS: dict[str, type[BaseModel]] = {
    "manifest": Manifest,
    "profile": Profile,
    "report": Report,
    "search": Search,
}
"""The model of each document, by its name."""


def json_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema (draft 2020-12) of a document, made from its model.

    A document that wfpipe reads is valid by it. ``schema`` is required, as for wfpipe itself.

    Args:
        name: a key of :data:`DOCUMENTS`.
    """
    schema = DOCUMENTS[name].model_json_schema(by_alias=True, mode="validation")
    schema["required"] = ["schema", *(key for key in schema["required"] if key != "schema")]
    version = schema["properties"]["schema"]["const"]
    return {"$schema": DIALECT, "$id": f"urn:{version.replace('/', ':')}", **schema}


def shipped_schema(name: str) -> dict[str, Any]:
    """Return the JSON Schema of a document as it ships."""
    file = resources.files(__package__) / "schemas" / f"{name}.schema.json"
    schema: dict[str, Any] = json.loads(file.read_text("utf-8"))
    return schema


def main() -> None:
    """Write all schemas where they ship from."""
    for name in DOCUMENTS:
        write_json(Path(__file__).parent / "schemas" / f"{name}.schema.json", json_schema(name))


if __name__ == "__main__":
    main()
