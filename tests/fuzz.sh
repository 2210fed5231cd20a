#!/usr/bin/env bash
# Fuzzes event channels with libFuzzer, on stable Rust: the compiler's coverage instrumentation without a sanitizer, which is
# what `cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none` does.
# Usage: tests/fuzz.sh [RUNS] [TARGET...]     5000 runs of every target unless told otherwise; 0 runs for ever
# What was found is kept in target/fuzz/corpus and searched from there the next time; what fails, in target/fuzz/failed.
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

readonly runs=${1:-5000}
[ $# -gt 0 ] && shift
targets=("$@")
[ ${#targets[@]} -gt 0 ] || targets=(shared-pages hypercalls)
readonly directory=$PWD/target/fuzz
host=$(rustc -vV | sed -n 's/^host: //p')

export CARGO_TARGET_DIR=$directory
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
-Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table"

if ! command -v "${CXX:-c++}" >/dev/null; then
    echo 'SKIP fuzz: libFuzzer needs a C++ compiler (apt-get install g++)'
    exit 0
fi
# With --target the instrumentation stays out of build scripts and macros.
mkdir -p "$directory"
if ! cargo build --locked --release --target "$host" --manifest-path tests/fuzz/Cargo.toml 2>"$directory/build.log"; then
    if grep -qiE 'unable to update|failed to (download|fetch)|could not resolve host' "$directory/build.log"; then
        echo 'SKIP fuzz: libfuzzer-sys cannot be fetched'
        exit 0
    fi
    cat "$directory/build.log"
    exit 1
fi

failed=0
for target in "${targets[@]}"; do
    corpus=$directory/corpus/$target failures=$directory/failed/$target
    mkdir -p "$corpus" "$failures"
    seed=${SEED:-$((RANDOM * 32768 + RANDOM + 1))}
    printf '%s: %s runs, seed %s\n' "$target" "$runs" "$seed"
    limit=("-runs=$runs")
    [ "$runs" -eq 0 ] && limit=()
    "$directory/$host/release/$target" "${limit[@]}" -seed="$seed" -max_len=4096 -len_control=0 -timeout=20 \
        -artifact_prefix="$failures/" -print_final_stats=1 "$corpus" >"$directory/$target.log" 2>&1 || failed=1
    grep -E '^(#[0-9]+.*(INITED|DONE)|stat::(number_of_executed_units|average_exec_per_sec))|panicked at|ERROR|SUMMARY|written to' \
        "$directory/$target.log"
done
exit "$failed"
