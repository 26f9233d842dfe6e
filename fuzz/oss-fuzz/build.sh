#!/usr/bin/env bash
# Builds every harness as OSS-Fuzz wants it: with the caller's $CXX, $CXXFLAGS and $LIB_FUZZING_ENGINE, into $OUT, each with
# its seed corpus, dictionary and options. Planted defects stay out; yield points are in, for the programs use them.
set -euo pipefail
source_dir="$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)"
: "${CXX:?}" "${OUT:?}" "${WORK:?}" "${LIB_FUZZING_ENGINE:?}"
export LIB_FUZZING_ENGINE
mkdir -p "$OUT" "$WORK"

cmake -S "$source_dir" -B "$WORK/build" -G Ninja -DCMAKE_BUILD_TYPE=None -DCMAKE_CXX_COMPILER="$CXX" \
  -DSTACKDRAIN_YIELDS=ON -DSTACKDRAIN_DEFECTS=OFF -DSTACKDRAIN_TESTS=OFF -DSTACKDRAIN_TOOLS=OFF \
  -DSTACKDRAIN_FUZZ_ENGINE=oss-fuzz
cmake --build "$WORK/build"

for source in "$source_dir"/fuzz/*_fuzzer.cc; do
  fuzzer="$(basename "$source" .cc)"
  cp "$WORK/build/fuzz/$fuzzer" "$OUT/"
  seeds="$WORK/seeds/$fuzzer"
  rm -rf "$seeds"
  mkdir -p "$seeds"
  # The encoder links the standard library only, as the harnesses do, so any compiler that builds them builds it.
  if grep -q ProgramView "$source"; then
    for seed in "$source_dir"/corpus/*/*.ops; do
      "$WORK/build/fuzz/encode_program" "$seed" "$seeds/$(basename "$seed" .ops)"
    done
  else
    find "$source_dir/corpus/$fuzzer" -type f ! -name '*.md' -exec cp {} "$seeds/" \;
  fi
  (cd "$seeds" && cmake -E tar cf "$OUT/${fuzzer}_seed_corpus.zip" --format=zip .)
  if [ -e "$source_dir/fuzz/$fuzzer.dict" ]; then
    cp "$source_dir/fuzz/$fuzzer.dict" "$OUT/$fuzzer.dict"
  else
    "$WORK/build/fuzz/encode_program" --dictionary "$OUT/$fuzzer.dict"
  fi
  options="$source_dir/fuzz/oss-fuzz/$fuzzer.options"
  [ -e "$options" ] || options="$source_dir/fuzz/oss-fuzz/fuzzer.options"
  cp "$options" "$OUT/$fuzzer.options"
done
