#!/usr/bin/env bash
# Follows the jobs of docs/ci.md to the letter, for a model that passes and one that does not: each
# job in a new virtual environment, with nothing in the environment but PATH and HOME. Installs
# wfpipe for each job, which takes minutes. Needs the project's own .venv (make run makes it).
set -euo pipefail
root=$(cd "$(dirname "$0")/../.." && pwd)
own=$root/.venv/bin
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/wfpipe" "$work/home"
git -C "$root" archive HEAD | tar -x -C "$work/wfpipe"
jobs=$work/wfpipe/tests/ci/jobs.py

for model in good:0.5 bad:0.98; do
  "$own/python" "$root/tests/ci/workspace.py" "$work/${model%:*}" "${model#*:}"
  ln -s "$work/wfpipe" "$work/${model%:*}/wfpipe"
  "$own/python" "$jobs" "$work/wfpipe" show ci.yaml > "$work/${model%:*}/ci.yaml"
done
(cd "$work/good" && "$own/wfpipe" validate model.onnx --against dense.onnx --data ./data \
  --recipe ci.yaml --out accepted --quiet)
cp -r "$work/good/accepted" "$work/bad/accepted"

status=0
for job in github gitlab; do
  python3 -m venv "$work/$job"
  for model in good:0 bad:3; do
    folder=$work/${model%:*} code=0
    rm -rf "$folder/figures"
    env -i PATH="$work/$job/bin:/usr/bin:/bin" HOME="$work/home" \
      "$own/python" "$jobs" "$work/wfpipe" "$job" "$folder" > "$folder/log" 2>&1 || code=$?
    echo "$job job, ${model%:*} model: exit code $code, expected ${model#*:}"
    "$own/python" -c "
from junitparser import JUnitXml
for suite in JUnitXml.fromfile('$folder/figures/junit.xml'):
    print(f'  JUnit: {suite.tests} test cases, {suite.failures} failures, {suite.errors} errors')"
    if [ "$code" != "${model#*:}" ]; then tail -n 20 "$folder/log"; status=1; fi
  done
done
exit "$status"
