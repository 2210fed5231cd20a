#!/usr/bin/env bash
# Runs the model checkers over both sides of event channels and over vCPUs that move: loom (small protocols, every
# interleaving up to a bound, weak memory) and shuttle (whole scenarios, random schedules). Each has atomics of its own,
# hence a target directory of its own.
# Usage: tests/model.sh [loom|shuttle]     both unless told otherwise
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

run_loom() {
    RUSTFLAGS='--cfg loom' CARGO_TARGET_DIR=target/loom \
        cargo test --locked --release -p hypervisor-lib -p guest-shim --test loom
}

run_shuttle() {
    RUSTFLAGS='--cfg shuttle' CARGO_TARGET_DIR=target/shuttle \
        cargo test --locked --release -p carillon-event-tests -p hypervisor-lib --test shuttle -- --show-output
}

case ${1:-both} in
    loom) run_loom ;;
    shuttle) run_shuttle ;;
    both) run_loom && run_shuttle ;;
    *)
        echo "no model checker '$1': loom or shuttle"
        exit 2
        ;;
esac
