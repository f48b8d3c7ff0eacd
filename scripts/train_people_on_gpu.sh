#!/usr/bin/env bash
# Train the generator of people on a machine that has PyTorch with CUDA, numba, SciPy and Pillow, but neither OpenCV nor
# MediaPipe, which the training imports and never calls: empty stand-ins take their place. About seven minutes.
#
#   scripts/train_people_on_gpu.sh PEOPLE OUT [MSGSPEC_WHEEL]
#
# PEOPLE: what `fitme data build --people` wrote; its folder `textures` need not be there. OUT: a folder for the run; its
# files are in pieces below 16 MB. Run it in the repository's root.
set -euo pipefail
people=$1 out=$2 wheel=${3:-}
stands_in=$(mktemp -d)
trap 'rm -rf "$stands_in"' EXIT
for module in cv2 mediapipe; do
    cat > "$stands_in/$module.py" <<'PYTHON'
class Absent:
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent()


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return Absent()
PYTHON
done
if [ -n "$wheel" ]; then python3 -m zipfile -e "$wheel" "$stands_in"; fi
export PYTHONPATH="$PWD:$stands_in" PYTHONUNBUFFERED=1
python3 -m fitme.cli train people --config configs/train_people.yaml --data "$people" --out "$out" --device cuda
split -b 15000000 "$out/generator.safetensors" "$out/generator.safetensors."
