# What the scenarios in bash share; sourced first. The runner has set WORK (a directory of the
# scenario's own), REDIS_HOST and REDIS_PORT (the server under test), REDIS_SERVER with
# REDIS_SERVER_ARGS (how to start another one) and PORT_BASE (the first of 24 ports that are free).
set -u
HERE=$(cd "$(dirname "$0")" && pwd)
programs=()
starts=0
declare -A servers

fail() {
    echo "ASSERT FAILED: $*" >&2
    exit 1
}

# eq GOT WANT [WHAT]
eq() { [ "$1" = "$2" ] || fail "${3:-value}: got [$1] want [$2]"; }

# has TEXT PART [WHAT]
has() { [[ "$1" == *"$2"* ]] || fail "${3:-text}: [$2] not found in: ${1:0:600}"; }

rcli() { redis-cli -h "$REDIS_HOST" -p "$REDIS_PORT" "$@"; }

wait_for() {
    local seconds=$1 i
    shift
    for i in $(seq 1 $((seconds * 20))); do
        "$@" >/dev/null 2>&1 && return 0
        sleep 0.05
    done
    fail "not within $seconds s: $*"
}

listens() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

wait_port() { wait_for 20 listens "$1"; }

# bg COMMAND...: a program in the background until the scenario ends; its output is in bg-N.log.
bg() {
    "$@" >"$WORK/bg-$((${#programs[@]} + 1)).log" 2>&1 &
    programs+=($!)
}

# start_redis PORT OPTION...: another server under test. The directory is the port's, so that a
# server that is started again finds its data. It may be started right after another was killed:
# getting the port then is the server's own business.
start_redis() {
    local port=$1 directory=$WORK/redis-$1
    local log=$WORK/bg-server-$1-$((++starts)).log
    shift
    mkdir -p "$directory"
    "$REDIS_SERVER" ${REDIS_SERVER_ARGS:-} --port "$port" --bind 127.0.0.1 --dir "$directory" \
        --save "" "$@" >"$log" 2>&1 &
    servers[$port]=$!
    wait_for 20 is_ready "$port" "$log"
}

# Whether this server serves, not one that was there before.
is_ready() {
    kill -0 "${servers[$1]}" 2>/dev/null || fail "the server on port $1 has ended"
    grep -q 'Ready to accept connections' "$2" && listens "$1"
}

# end_redis SIGNAL PORT
end_redis() {
    kill "-$1" "${servers[$2]}" 2>/dev/null
    wait "${servers[$2]}" 2>/dev/null
    unset "servers[$2]"
}

stop_redis() { end_redis TERM "$1"; }
kill_redis() { end_redis KILL "$1"; }

# What was started ends with the scenario; of a scenario that failed, its logs are told.
end() {
    local status=$? log
    kill "${programs[@]}" "${servers[@]}" 2>/dev/null
    [ "$status" -ne 0 ] || exit 0
    for log in "$WORK"/bg-*.log; do
        [ ! -s "$log" ] || { echo "--- $(basename "$log")"; tail -40 "$log"; } >&2
    done
    exit "$status"
}
trap end EXIT
trap 'exit 143' TERM INT
