#!/usr/bin/env bash
# Run studies on two cores: two workers take them from one list, each the next that is left.
#   scripts/studies.sh PYTHON SIZE NAME ...      (SIZE may be empty; the longest first is best)
# The first worker's words are shown, the other's go into reports/beside.log.
set -u
python=$1 size=$2
shift 2
mkdir -p reports
taken=$(mktemp -d)

words() {
    echo "experiment=$1 ${size:+size=$size}"
    # Of its six networks and all methods a look at two and a few is enough to try it out.
    [ "$1-$size" != adoption-tiny ] || echo "-m explainer=classic model=cnn,vit"
}

shown() {
    local name
    for name in "$@"; do
        mkdir "$taken/$name" 2> /dev/null || continue
        # shellcheck disable=SC2046
        "$python" -m xai_exp $(words "$name") || return 1
    done
}

beside() {
    local name one=
    trap 'kill $one; exit 1' INT TERM
    for name in "$@"; do
        mkdir "$taken/$name" 2> /dev/null || continue
        echo "== $name"
        # shellcheck disable=SC2046
        "$python" -m xai_exp $(words "$name") &
        one=$!
        wait $one || exit 1
    done
}

echo "two at a time; the words of the second are in reports/beside.log"
beside "$@" > reports/beside.log 2>&1 &
other=$!
trap 'kill $other 2> /dev/null; rm -rf "$taken"' EXIT
trap 'exit 130' INT TERM
shown "$@" || exit 1
wait $other || { tail -n 5 reports/beside.log; exit 1; }
