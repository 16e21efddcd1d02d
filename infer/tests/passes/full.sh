#!/bin/sh
# The test `passes` over ResNet18 of the usual width: `PYTHON=.../python infer/tests/passes/full.sh`, where PYTHON has the
# packages that generate.py names.
set -eu
cd "$(dirname "$0")/../../.."
folder=$PWD/target/resnet18
"${PYTHON:-python3}" infer/tests/passes/generate.py --full "$folder"
FERRONNX_PASSES=$folder cargo test -p ferronnx-infer --test passes -- --nocapture
