# Programs as the documentation calls them. The check of the documentation puts this before every block.
# DOCS_FLAGS_ONLY=1: check only flags and values. DOCS_LOG: a line for each command with the way it was checked.
set -euo pipefail

note() { echo "$*" >>"$DOCS_LOG"; }

# clap reads all arguments before it answers --help, and refuses an unknown flag or value.
flags_only() {
    note "flags $*"
    command "$@" --help >/dev/null
}

ours() {
    case "$DOCS_FLAGS_ONLY $* " in
    1\ * | *s3://* | *cuda* | *' imagenet '* | *cifar10* | *.tar\ *) flags_only "$@" ;;
    *' infer serve '*) serve "$@" ;;
    *' train fit '*) short_fit "$@" ;;
    *' infer bench '*) note "ran $*" && command "$@" --seconds 0.1 ;;
    *) note "ran $*" && command "$@" ;;
    esac
}
infer() { ours infer "$@"; }
train() { ours train "$@"; }

# Trains for one epoch instead of many.
short_fit() {
    local short=()
    [[ " $* " == *" --epochs "* || " $* " == *" --resume "* || " $* " == *" --dry-run "* ]] || short=(--epochs 1)
    note "ran $*" "${short[@]}"
    command "$@" "${short[@]}"
}

# Starts a server, waits until it listens, and ends it as Ctrl-C does.
serve() {
    note "ran $*"
    command "$@" --listen 127.0.0.1:0 >server.txt 2>&1 &
    local server=$!
    until grep -q 'listening on' server.txt; do
        kill -0 "$server" 2>/dev/null || break
        sleep 0.1
    done
    kill -INT "$server" || true
    wait "$server" || { cat server.txt && return 1; }
    cat server.txt
}

cargo() {
    case "$1" in
    xtask) shift && flags_only xtask "$@" ;;
    run) shift && example "$@" ;;
    build) shift && note "packages and features: cargo build $*" && packages "$@" ;;
    *) note "not run: cargo $*" ;;
    esac
}

# cargo tree knows the packages and features that cargo build would take.
packages() {
    local args=()
    for arg in "$@"; do [ "$arg" = --release ] || args+=("$arg"); done
    command cargo tree --quiet --offline --depth 0 --manifest-path "$DOCS_ROOT/Cargo.toml" "${args[@]}" >/dev/null
}

# Runs the example that the tests have built.
example() {
    while [ "$1" != --example ]; do shift; done
    local name=$2
    while [ "$1" != -- ]; do shift; done
    shift
    note "ran example $name $*"
    [ "$DOCS_FLAGS_ONLY" = 1 ] && test -x "$DOCS_EXAMPLES/$name" || "$DOCS_EXAMPLES/$name" "$@"
}

# Programs of others that this machine lacks, and all of them where only flags are checked.
command_not_found_handle() {
    note "not run: $*"
    [ ! -p /dev/stdin ] || cat >/dev/null
}

