# What the scripts share; sourced by them, from the top of the repository.

build_packages="gcc libc6-dev meson ninja-build pkg-config liburing-dev libmimalloc-dev libck-dev
    libxxhash-dev liblzf-dev liblua5.1-0-dev lua-cjson-dev libssl-dev
    libhiredis-dev libmicrohttpd-dev"
test_packages="libcriterion-dev redis-server redis-tools python3 python3-pytest
    python3-pytest-xdist python3-redis openssl"
# For the clients that every run of the tests tries (fast=yes in test/clients/*/meta).
test_packages+=" libevent-dev lua5.1 lua-redis python3-hiredis python3-rq"
package_packages="build-essential debhelper fakeroot lintian"
fuzz_packages="clang libclang-rt-14-dev"

die() {
    echo "$*" >&2
    exit 1
}

# The packages of the list that are not installed.
missing_packages() {
    local package
    for package in "$@"; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            echo "$package"
    done
}

# Installs what is missing of the packages named. Services that come with packages (redis-server)
# are neither started nor enabled: the tests start their own.
install_packages() {
    local missing sudo=
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    command -v apt-get >/dev/null ||
        die "missing: ${missing//$'\n'/ }. This script installs them on Debian only."
    if [ "$(id -u)" -ne 0 ]; then
        sudo=sudo
        command -v sudo >/dev/null ||
            die "missing: ${missing//$'\n'/ }. Install them as root with:" \
                "apt-get update && apt-get install" $missing
    fi
    echo "installing ${missing//$'\n'/ }" >&2
    local policy=/usr/sbin/policy-rc.d made_policy=
    if [ ! -e "$policy" ]; then
        made_policy=yes
        printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
        $sudo chmod +x "$policy"
    fi
    local status=0
    apt_install "$sudo" $missing ||
        { $sudo apt-get update -qq >&2 && apt_install "$sudo" $missing; } || status=$?
    [ -z "$made_policy" ] || $sudo rm -f "$policy"
    [ "$status" -eq 0 ] || die "apt-get could not install ${missing//$'\n'/ }: its message is above"
    if [[ " ${missing//$'\n'/ } " == *" redis-server "* ]] && [ -d /run/systemd/system ]; then
        $sudo systemctl disable --quiet redis-server 2>/dev/null || true
    fi
}

apt_install() {
    local sudo=$1
    shift
    $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" \
        </dev/null >&2
}

# build_in DIRECTORY OPTION...: sets up a build directory once, and builds. Quiet when all is well.
build_in() {
    local directory=$1 output
    shift
    if [ "$(cat "$directory/.options" 2>/dev/null)" != "$*" ]; then
        rm -rf "$directory"
        output=$(/usr/bin/meson setup "$directory" "$@" 2>&1) || die "$output"
        echo "$*" >"$directory/.options"
        echo "building in $directory: this takes a minute or two" >&2
    fi
    output=$(ninja -C "$directory" 2>&1) || die "$output"
}

# install_node_modules [WORKSPACE...]: what the clients for node in test/clients need, as their lock
# file pins it; all of it, and a newer node where the system's is older than some of them take,
# without arguments. Quick where it is there already.
install_node_modules() {
    local workspace
    local -a narrow=()
    command -v npm >/dev/null || install_packages nodejs npm
    for workspace in "$@"; do narrow+=(--workspace "$workspace"); done
    npm_install test/clients "${narrow[@]}"
    if [ $# -eq 0 ] && ! node -e 'process.exit(parseInt(process.versions.node) < 20)'; then
        npm_install test/clients/node
    fi
}

# npm_install DIRECTORY OPTION...: unless that, or all of it, is installed.
npm_install() {
    local directory=$1 wanted had output
    shift
    wanted=$(sha256sum <"$directory/package-lock.json")
    had=$(cat "$directory/node_modules/.had" 2>/dev/null)
    if [ "$had" = "$wanted" ] || [ "$had" = "$wanted$*" ]; then return 0; fi
    echo "installing $directory/node_modules" >&2
    output=$(cd "$directory" && npm ci --ignore-scripts --no-audit --no-fund \
        --prefer-offline --loglevel=error "$@" 2>&1) ||
        die "npm: $output"
    echo "$wanted$*" >"$directory/node_modules/.had"
}
