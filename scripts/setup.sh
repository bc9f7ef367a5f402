#!/usr/bin/env bash
# Set up a fresh machine: system packages, a virtual environment, the right set of wheels, the embedded nets; then verify.
#   scripts/setup.sh            GPU found -> the full set of requirements.txt, else the light set
#   scripts/setup.sh --light    the light set in any case
#   scripts/setup.sh --dev      also what the tests need
# On a machine without a GPU --dev also installs torch, to test the SAM 3 adapters with a tiny random model; TORCH_INDEX
# names another package index for it (https://download.pytorch.org/whl/cpu spares several GB of CUDA libraries).
# VENV names the environment (default .venv), PYTHON the interpreter (default python3, 3.11 or newer).
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${VENV:-.venv}
python=${PYTHON:-python3}
light=no
extras=""
for argument in "$@"; do
  case "$argument" in
    --light) light=yes ;;
    --dev) extras="[dev]" ;;
    *) echo "setup.sh: unknown option $argument (known: --light, --dev)" >&2; exit 2 ;;
  esac
done

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
  echo "setup.sh: $("$python" --version 2>&1) is too old; set PYTHON to a Python 3.11 or newer" >&2
  exit 1
}

# System packages are a convenience: fonts for Korean and Thai labels, and the libraries OpenCV's wheel expects.
# Without apt or root, verify_setup.py says at the end what is missing.
need=""
ldconfig -p 2>/dev/null | grep -q libGL.so.1 || need="$need libgl1 libglib2.0-0"
if command -v fc-list >/dev/null 2>&1; then
  [ -n "$(fc-list :lang=ko 2>/dev/null | head -n 1)" ] || need="$need fonts-noto-cjk"
  [ -n "$(fc-list :lang=th 2>/dev/null | head -n 1)" ] || need="$need fonts-noto-core"
else
  ls /usr/share/fonts/opentype/noto/NotoSansCJK* >/dev/null 2>&1 || need="$need fonts-noto-cjk"
  ls /usr/share/fonts/truetype/noto/NotoSansThai* >/dev/null 2>&1 || need="$need fonts-noto-core"
fi
if [ -n "$need" ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
  echo "setup.sh: installing system packages:$need"
  export DEBIAN_FRONTEND=noninteractive
  # shellcheck disable=SC2086  # $need is a list
  { apt-get install -y -qq --no-install-recommends $need >/dev/null 2>&1 ||
    { apt-get update -qq >/dev/null 2>&1 && apt-get install -y -qq --no-install-recommends $need >/dev/null 2>&1; }; } ||
    echo "setup.sh: could not install$need; going on without" >&2
fi

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check "$@"; }

if [ "$light" = no ] && command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi >/dev/null 2>&1; then
  echo "setup.sh: NVIDIA GPU found, installing the full set (several GB)"
  pip install --quiet -r requirements.txt
  # insightface depends on onnxruntime, and beside it onnxruntime-gpu silently runs on the CPU. Removing only one
  # breaks the import, as they share a folder: both go, the GPU build comes back alone.
  pip uninstall --quiet -y onnxruntime onnxruntime-gpu
  pip install --quiet --no-deps "onnxruntime-gpu>=1.24"
  pip install --quiet --no-deps -e .
  if [ -n "$extras" ]; then
    pip install --quiet "pytest>=8.3" "ruff>=0.9" "nbclient>=0.10" "nbformat>=5.10" "playwright>=1.50"
  fi
else
  echo "setup.sh: installing the light set (no GPU needed)"
  pip install --quiet -e ".$extras"
  if [ -n "$extras" ]; then
    # shellcheck disable=SC2086  # an option and its value, or nothing
    { pip install --quiet ${TORCH_INDEX:+--index-url $TORCH_INDEX} "torch==2.13.0" &&
      pip install --quiet --no-deps ${TORCH_INDEX:+--index-url $TORCH_INDEX} "torchvision==0.28.0" &&
      pip install --quiet "transformers>=5.23,<6" "sam3>=0.1.4,<0.2" "huggingface_hub>=1.10,<2" "psutil>=5.9"; } ||
      echo "setup.sh: torch could not be installed; the tests of SAM 3 will be skipped" >&2
    # Other tools' own readers, to read exports back with. They pin libraries that differ from ours, so they lie apart.
    pip install --quiet --no-deps --upgrade --target "$venv/readers" -r scripts/readers.txt ||
      echo "setup.sh: the readers could not be installed; the tests of exports will be skipped" >&2
  fi
fi
"$venv/bin/idseg" fetch-nets
"$venv/bin/python" scripts/verify_setup.py
