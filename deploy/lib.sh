# Shared by the commands in this folder. Sourced, not run.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
release=$target/release

if [ -t 1 ] && [ -z "${NO_COLOR:-}" ]; then
    bold=$'\e[1m' dim=$'\e[2m' green=$'\e[32m' red=$'\e[31m' plain=$'\e[0m'
else
    bold='' dim='' green='' red='' plain=''
fi

step() { printf '\n%s==> %s%s\n' "$bold" "$*" "$plain"; }
say() { printf '    %s\n' "$*"; }
fail() { printf '\n%sfailed:%s %s\n' "$red" "$plain" "$1" >&2; shift; for line in "$@"; do printf '    %s\n' "$line" >&2; done; exit 1; }

# Installs Debian packages that are missing. need_packages PACKAGE...
need_packages() {
    local missing=() package
    for package in "$@"; do
        dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q 'install ok installed' || missing+=("$package")
    done
    [ ${#missing[@]} -eq 0 ] && return 0
    say "installing ${missing[*]} with apt-get"
    local sudo=()
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || fail "these packages are missing: ${missing[*]}" "install them as root, then run this again: apt-get install ${missing[*]}"
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update -qq || say "apt-get update failed; trying with the lists at hand"
    "${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null \
        || fail "apt-get could not install ${missing[*]}" "install them by hand, then run this again"
}

need_rust() {
    command -v cargo >/dev/null || fail "there is no Rust toolchain" "install one from https://rustup.rs, then run this again"
    local wanted have
    wanted=$(sed -n 's/^rust-version = "\(.*\)"/\1/p' "$root/Cargo.toml")
    have=$(rustc --version | cut -d' ' -f2)
    if [ "$(printf '%s\n%s\n' "$wanted" "$have" | sort -V | head -n 1)" != "$wanted" ]; then
        fail "rustc $have is too old: $wanted or newer is needed" "run: rustup update stable"
    fi
}

# Installs a package of npm into target/node, unless its file is there. need_npm FILE PACKAGE@VERSION
need_npm() {
    local folder=$root/target/node
    [ -e "$folder/$1" ] && return 0
    command -v npm >/dev/null || need_packages npm
    say "installing $2 with npm into target/node"
    mkdir -p "$folder"
    npm install --silent --no-fund --no-audit --ignore-scripts --prefix "$folder" "$2" \
        || fail "npm could not install $2" "see its message above"
}

# Builds packages with the one profile that everything here shares. build ARGUMENTS...
# deploy/test has built the whole workspace before it calls the other commands, and says so.
build() {
    [ -z "${PORTCULLIS_BUILT:-}" ] || return 0
    say "cargo build --release ${*}  (the first time takes some minutes)"
    cargo build --manifest-path "$root/Cargo.toml" --release --locked "$@" || fail "the build failed" "see the compiler's message above"
}

softhsm_module() {
    local path
    for path in "${PORTCULLIS_SOFTHSM_MODULE:-}" /usr/lib/softhsm/libsofthsm2.so /usr/lib/*/softhsm/libsofthsm2.so; do
        if [ -n "$path" ] && [ -f "$path" ]; then echo "$path"; return 0; fi
    done
    fail "SoftHSM's module libsofthsm2.so is not where Debian puts it" "set PORTCULLIS_SOFTHSM_MODULE to its path"
}

# Sets `batch` to what starts a command under SCHED_BATCH, as the unit in docs/operations.md does: a
# thread that wakes up does not interrupt one that signs. Nothing where the system does not allow it.
batch_scheduling() {
    batch=()
    if chrt --batch 0 true 2>/dev/null; then batch=(chrt --batch 0); fi
}
