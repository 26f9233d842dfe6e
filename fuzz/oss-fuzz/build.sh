#!/bin/bash -eu
# Copyright 2026 The stackdrain authors
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at
#
#      http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.
#
################################################################################
# Builds every harness as OSS-Fuzz and ClusterFuzzLite want it: from $SRC/stackdrain, with their $CC, $CFLAGS, $CXX,
# $CXXFLAGS and $LIB_FUZZING_ENGINE, under $WORK, into $OUT; each with its seed corpus, dictionary and options. Planted
# defects stay out; yield points are in, for the programs use them. fuzz/oss-fuzz/README.md has more.
source_dir="$SRC/stackdrain"
build_dir="$WORK/stackdrain"
fuzz_dir="$source_dir/fuzz"

# CMake takes compilers and flags from the environment the first time only, so nothing is left of another sanitizer's build.
rm -rf "$build_dir"
cmake -S "$source_dir" -B "$build_dir" -DCMAKE_BUILD_TYPE=None \
  -DSTACKDRAIN_YIELDS=ON -DSTACKDRAIN_DEFECTS=OFF -DSTACKDRAIN_TESTS=OFF -DSTACKDRAIN_TOOLS=OFF \
  -DSTACKDRAIN_FUZZ_ENGINE=oss-fuzz
cmake --build "$build_dir" --target fuzzers --parallel "$(nproc)"

# The encoder links what the harnesses link, so any compiler that builds them builds it. What a coverage build of it
# would write beside the sources is nobody's profile.
encode="$build_dir/fuzz/encode_program"
export LLVM_PROFILE_FILE="$build_dir/encode_program.profraw"

for source in "$fuzz_dir"/*_fuzzer.cc; do
  fuzzer="$(basename "$source" .cc)"
  cp "$build_dir/fuzz/$fuzzer" "$OUT/"

  seeds="$build_dir/seeds/$fuzzer"
  mkdir -p "$seeds"
  if grep -q ProgramView "$source"; then
    for seed in "$source_dir"/corpus/*/*.ops; do
      "$encode" "$seed" "$seeds/$(basename "$seed" .ops)"
    done
  else
    find "$source_dir/corpus/$fuzzer" -type f ! -name '*.md' -exec cp {} "$seeds/" \;
  fi
  (cd "$seeds" && cmake -E tar cf "$OUT/${fuzzer}_seed_corpus.zip" --format=zip .)

  if [ -e "$fuzz_dir/$fuzzer.dict" ]; then
    cp "$fuzz_dir/$fuzzer.dict" "$OUT/"
  else
    "$encode" --dictionary "$OUT/$fuzzer.dict"
  fi
  options="$fuzz_dir/oss-fuzz/$fuzzer.options"
  [ -e "$options" ] || options="$fuzz_dir/oss-fuzz/fuzzer.options"
  cp "$options" "$OUT/$fuzzer.options"
done
