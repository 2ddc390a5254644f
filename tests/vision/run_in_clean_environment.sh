#!/bin/sh
# Holds preparation against torchvision and timm themselves, takes channels out of their and
# transformers' networks, measures which of their matrices are pruned, and puts networks with
# auxiliary outputs through the whole job, in an environment made for it: they need a build of
# PyTorch of their own, some 5 GB. An argument names a folder to keep it in.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-$(mktemp -d)}
[ -x "$folder/bin/python" ] || python3 -m venv "$folder"
"$folder/bin/pip" install --quiet torch==2.12.0 torchvision==0.27.0 timm transformers
WFPIPE_NO_KERNELS=1 "$folder/bin/pip" install --quiet "$root"
cd "$folder" && "$folder/bin/python" "$root/tests/vision/check_preparation.py"
for check in channels prunables auxiliary; do
	"$folder/bin/python" "$root/tests/vision/check_$check.py"
done
