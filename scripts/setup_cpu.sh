#!/usr/bin/env bash
# make setup CPU=1: torch's wheels for the CPU, and the rest as pinned.
# make setup CPU=URL: from a mirror of that index, or a folder of an index (file:///...).
# It never falls back to wheels with CUDA: what can't be had is said in one line.
set -euo pipefail
bin=$1 where=$2
index=https://download.pytorch.org/whl/cpu
if [ "$where" = 1 ]; then
  source=(--torch-backend=cpu)
else
  index=$where
  source=(--index "$where" --index-strategy unsafe-best-match)
fi
"$bin/python" -m pip install --quiet --disable-pip-version-check uv
if ! said=$("$bin/uv" pip install --quiet --python "$bin/python" "${source[@]}" -c constraints.txt -e '.[dev]' 2>&1); then
  if grep -qE "Failed to fetch.*${index%/}|$index.*(not found|failed)" <<< "$said"; then
    echo "error: CPU=$where: got no answer from $index; allowed: CPU=URL of a mirror of it, or make setup, with CUDA's libraries (6.6 GB)" >&2
  else
    echo "$said" >&2
  fi
  exit 1
fi
# A mirror may lack them, and the registry's own wheels bring CUDA.
version=$("$bin/python" -c 'from importlib.metadata import version; print(version("torch"))')
case $version in
  *+cpu) ;;
  *) echo "error: CPU=$where: got torch $version; allowed: an index that holds $version+cpu" >&2; exit 1 ;;
esac
