#!/usr/bin/env bash
# Installs a clone of the project where no C++ compiler is to be found: zig is brought, and the
# library loads. Then where zig cannot be had either, and with WFPIPE_NO_KERNELS=1: wfpipe installs
# all the same and says why there are no kernels. Fetches torch and zig, which takes minutes.
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
python=$(python3 -c 'import os, sys; print(os.path.realpath(sys.executable))')
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/bin" "$work/home" "$work/indexes"
for tool in sh env uname; do ln -s "$(command -v "$tool")" "$work/bin/$tool"; done
git clone --quiet "$root" "$work/wfpipe"
"$python" -m venv "$work/venv"

# Runs a program with what pip is told outside, and without any other setting or program.
clean() {
  env -i PATH="$work/venv/bin:$work/bin" HOME="$work/home" \
    $(env | grep '^PIP_' | grep -v ' ' || true) "$@"
}

# Installs with some settings, then prints what the package has; its words must match a pattern.
try() {
  local pattern=$1 said
  shift
  (cd "$work/wfpipe" && clean "$@" "$work/venv/bin/python" -m pip install --quiet \
    --disable-pip-version-check --constraint constraints.txt .)
  said=$(cd "$work" && clean "$work/venv/bin/python" - <<'PYTHON'
import onnxruntime

import wfpipe.cli.main
from wfpipe.exporters.measuring import kernels_library as kernels

library = kernels.library_path()
if library is None:
    print(kernels.why_missing())
else:
    kernels.register(onnxruntime.SessionOptions(), library)
    print(f"kernels: {kernels.kernel_path(library)}")
PYTHON
  )
  echo "$said"
  grep -q "$pattern" <<< "$said" || { echo "expected: $pattern" >&2; exit 1; }
  clean "$work/venv/bin/python" -m pip uninstall --quiet --yes wfpipe
}

for compiler in g++ clang++ c++ cc; do
  if clean "$work/bin/sh" -c "command -v $compiler"; then exit 1; fi
done
try '^kernels: ' env
clean "$work/venv/bin/python" -m pip download --quiet --no-deps --dest "$work/indexes" 'setuptools>=77'
try 'no C++ compiler works here, and zig is not installed' \
  PIP_NO_INDEX=1 PIP_FIND_LINKS="$work/indexes" PIP_NO_DEPS=1
try 'WFPIPE_NO_KERNELS was set when wfpipe was installed' WFPIPE_NO_KERNELS=1
