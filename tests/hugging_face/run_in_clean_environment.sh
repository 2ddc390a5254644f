#!/bin/sh
# Tries what stands on transformers, datasets and Lightning with these libraries, in an environment
# made for it: models and data of Hugging Face through the whole job, and the callbacks. An argument
# names a folder to keep it in.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$(mktemp -d)}
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet --constraint "$root/constraints.txt" \
	--editable "$root[dev,hf,lightning]" accelerate
cd "$root"
"$folder/bin/python" -m pytest -n 0 -q tests/hugging_face tests/pipeline/callbacks
