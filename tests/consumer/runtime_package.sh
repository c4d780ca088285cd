#!/usr/bin/env bash
# The installed runtime alone: a program outside the tree finds, links and runs it with neither LibTorch nor oneTBB about,
# by CMake and by pkg-config; and what cannot be had is refused by name. Runs in an empty folder, see tests/run.py.
set -euo pipefail

project=$(dirname "$(readlink -f "$0")")/project
prefix=$PWD/prefix
fail() { echo "FAILED: $*"; exit 1; }

for component in runtime package; do
  cmake --install "$CREEL_BUILD_DIR" --prefix "$prefix" --component $component >install.log || { cat install.log; fail "install"; }
done
mv "$prefix" moved # nothing in the package may know where it was installed
prefix=$PWD/moved

# configure FOLDER OPTION…; on the search path nothing but the prefix has creel, and the two libraries can't be found.
configure() {
  local folder=$1
  shift
  cmake -S "$project" -B "$folder" -G Ninja -DCMAKE_PREFIX_PATH="$prefix" -DCMAKE_FIND_USE_PACKAGE_REGISTRY=OFF \
    -DCMAKE_DISABLE_FIND_PACKAGE_TBB=ON -DCMAKE_DISABLE_FIND_PACKAGE_Torch=ON "$@" >"$folder.log" 2>&1
}

configure build || { cat build.log; fail "find_package(creel COMPONENTS runtime)"; }
ninja -C build >build.log || { cat build.log; fail "the consumer does not build"; }
said=$(./build/consumer)
[[ $said == "greeter-0 says hello, state TERMINATED" ]] || fail "the consumer said: $said"
if ldd build/consumer | grep -E 'libtorch|libtbb|libc10'; then fail "the consumer links what the runtime must not need"; fi
if find "$prefix" -path '*creel/scheduler*' -o -name '*scheduler*' | grep .; then fail "the runtime's component holds more"; fi

# The README's example of embedding, as a project by itself; it ends with its input.
example=$CREEL_SOURCE_DIR/examples/embed_runtime
if ! (cmake -S "$example" -B example -G Ninja -DCMAKE_PREFIX_PATH="$prefix" && ninja -C example) >example.log 2>&1; then
  cat example.log
  fail "examples/embed_runtime does not build against the package"
fi
./example/embed_runtime </dev/null >embedded.txt || fail "embed_runtime: exit code $?"
grep -q 'orders of 100 customers, the night watch was woken' embedded.txt || fail "embed_runtime said: $(cat embedded.txt)"

if configure unknown -DCOMPONENTS="runtime;telepathy"; then fail "an unknown component was found"; fi
tr -s ' \n' ' ' <unknown.log | grep -q "creel has no component 'telepathy'" || { cat unknown.log; fail "the message does not name it"; }
if configure newer -DWANTED_VERSION=99.0; then fail "version 99 was found"; fi

export PKG_CONFIG_PATH
PKG_CONFIG_PATH=$(dirname "$(find "$prefix" -name creel-runtime.pc)")
# shellcheck disable=SC2046  # a list of options
c++ "$project/main.cpp" -o by_pkg_config $(pkg-config --cflags --libs creel-runtime) || fail "pkg-config's options do not link"
[[ $(./by_pkg_config) == "$said" ]] || fail "the program built by pkg-config behaves otherwise"
