#!/bin/bash
# infer, train or cargo, by the name of this file, as the documentation's commands call them in `cargo xtask book`.
# DOCS_FLAGS_ONLY=1: check only flags and values. DOCS_LOG: a line for each command with the way it was checked.
set -euo pipefail
PATH=$DOCS_PATH
name=$(basename "$0")

note() { echo "$*" >>"$DOCS_LOG"; }

# clap reads all arguments before it answers --help, and refuses an unknown flag or value.
flags_only() {
    note "flags only: $name $*"
    "$DOCS_PROGRAMS/$name" "$@" --help >/dev/null
}

run() {
    note "ran: $name $*"
    "$DOCS_PROGRAMS/$name" "$@"
}

# Starts a server, waits until it listens, and ends it as Ctrl-C does.
serve() {
    local server output
    output=$(mktemp)
    note "ran: $name $*"
    "$DOCS_PROGRAMS/$name" "$@" --listen 127.0.0.1:0 >"$output" 2>&1 &
    server=$!
    until grep -q 'listening on' "$output" || ! kill -0 "$server" 2>/dev/null; do sleep 0.1; done
    kill -INT "$server" || true
    wait "$server" || { cat "$output" && return 1; }
    cat "$output"
}

# Trains one epoch, whatever number is given, into a folder that may be there from an earlier page.
fit() {
    local last= args=() epochs=(--epochs 1)
    for arg in "$@"; do
        case "$last" in --out) rm -rf "$arg" ;; --epochs) arg=1 ;; esac
        case "$arg" in --epochs | --resume | --dry-run) epochs=() ;; esac
        args+=("$arg")
        last=$arg
    done
    run "${args[@]}" "${epochs[@]}"
}

ours() {
    case "$name $* " in
    *s3://* | *cuda* | *cifar10* | *'pretrained imagenet '* | *.tar\ * | *mlflow*) flags_only "$@" ;;
    'infer serve '*) serve "$@" ;;
    'infer bench '*) run "$@" --seconds 0.1 ;;
    'train fit '*) fit "$@" ;;
    'train find-lr '*) run "$@" --steps 20 ;;
    *) run "$@" ;;
    esac
}

# cargo tree knows the packages and features that cargo build would take.
build() {
    local args=()
    for arg in "$@"; do [ "$arg" = --release ] || args+=("$arg"); done
    note "packages and features only: cargo build $*"
    cargo tree --quiet --offline --depth 0 --manifest-path "$DOCS_ROOT/Cargo.toml" "${args[@]}" >/dev/null
}

# Runs the example that the tests have built.
example() {
    while [ "$1" != --example ]; do shift; done
    name=examples/$2
    while [ "$1" != -- ]; do shift; done
    run "${@:2}"
}

if [ "$name" != cargo ]; then
    if [ "$DOCS_FLAGS_ONLY" = 1 ]; then flags_only "$@"; else ours "$@"; fi
else
    case "$1" in
    xtask) name=xtask && flags_only "${@:2}" ;;
    build) build "${@:2}" ;;
    run) example "$@" ;;
    *) note "not run: cargo $*" ;;
    esac
fi
