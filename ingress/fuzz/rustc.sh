#!/bin/sh
# cargo's RUSTC_WORKSPACE_WRAPPER for fuzzing: our own crates get libFuzzer's coverage counters and
# Rust's checks, dependencies stay as they are built for release. All of it works on stable.
exec "$@" \
    -Cpasses=sancov-module \
    -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters \
    -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares \
    -Cdebug-assertions=on \
    -Coverflow-checks=on \
    -Ccodegen-units=1
