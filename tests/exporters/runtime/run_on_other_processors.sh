#!/usr/bin/env bash
# The kernels' program of random cases on each path of this processor, with and without sanitizers,
# and under emulators of others. Compiles the kernels several times: minutes, so run by hand after a
# change to exporters/runtime/native. What a machine lacks is named (Debian: g++-aarch64-linux-gnu,
# qemu-user-static).
set -euo pipefail
cd "$(dirname "$0")/../../.."
.venv/bin/python -m pytest -n 0 -rs -s tests/exporters/runtime/other_processors.py
