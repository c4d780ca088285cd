#!/usr/bin/env bash
# Everything installed: the programs run from the prefix, and the command line loads no LibTorch.
set -euo pipefail

fail() { echo "FAILED: $*"; exit 1; }

cmake --install "$CREEL_BUILD_DIR" --prefix "$PWD/prefix" >install.log || { cat install.log; fail "install"; }
mv prefix moved
bin=$PWD/moved/bin

"$bin/creel" version >version.txt || fail "creel version: exit code $?"
grep -q '[0-9]\.[0-9]' version.txt || fail "creel version says: $(cat version.txt)"
if ldd "$bin/creel" | grep -E 'libtorch|libc10|libtbb'; then fail "creel itself loads what only creel-worker may"; fi
ldd "$bin/creel-worker" >libraries.txt
if grep 'not found' libraries.txt; then fail "creel-worker does not find its libraries"; fi
grep -q libtorch_cpu libraries.txt || fail "creel-worker links no LibTorch"
if grep -iE 'libcuda\.|libtorch_cuda|libcublas|libcudnn' libraries.txt; then fail "creel-worker links CUDA"; fi
find moved/share/creel -name '*bpe*' | grep -q . || fail "the tokenizer's vocabulary is not in share/creel"
