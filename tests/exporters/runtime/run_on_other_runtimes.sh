#!/usr/bin/env bash
# Installs versions of onnxruntime apart (default: 1.24 and the newest) and runs on each, with one
# and the same library, which comes out of a package: the package's self-test, the tests of the
# kernels, and the C++ program of docs/run-sparse-cpu.md. By hand, with the project's Python:
#
#     tests/exporters/runtime/run_on_other_runtimes.sh [VERSION...]
set -euo pipefail
root=$(cd "$(dirname "$0")/../../.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
[ $# -gt 0 ] || set -- '1.24.*' ''
cd "$work"
mkdir package

"$python" - <<'PYTHON'
from pathlib import Path

from wfpipe.exporters.reading.archive import unpack_archive
from wfpipe.tests.exporters.sparse_samples import make_sparse_package

unpack_archive(make_sparse_package(Path("package")), Path("unpacked"))
PYTHON
export WFPIPE_TEST_LIBRARY=$(echo "$work"/unpacked/kernels/*/*)
sha256sum "$WFPIPE_TEST_LIBRARY"

for version in "$@"; do
  target="$work/runtime-${version:-newest}"
  "$python" -m pip install --quiet --disable-pip-version-check --no-deps --target "$target" \
    "onnxruntime${version:+==$version}"
  (
    export PYTHONPATH="$target${PYTHONPATH:+:$PYTHONPATH}"
    "$python" -c 'import onnxruntime; print("onnxruntime", onnxruntime.__version__)'
    "$python" -P unpacked/infer.py --self-test
    cd "$root"
    "$python" -m pytest -n 0 -q -p no:cacheprovider \
      tests/exporters/runtime/test_kernels.py tests/exporters/runtime/test_run_from_cpp.py
  )
done
