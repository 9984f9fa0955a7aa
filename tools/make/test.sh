#!/bin/sh
# Runs the named steps of `make test`, never stops at the first failure, and ends
# with one line that counts everything: "N passed, N failed".
# Steps: generated lint console unit validation e2e. Reports (JSON, JUnit) land in .cache/test.
#
# They run in order, except that e2e runs beside the others where there are
# others: it mostly waits for servers, while they compute. What it prints follows
# when they are done, so that two steps never write to the screen at once.
set -eu
cd "$(dirname "$0")/../.."
cache=${TRELLIS_CACHE:-$PWD/.cache}
reports="$cache/test"
failed_steps=""
rm -rf "$reports"
mkdir -p "$reports"

# The race detector needs a C compiler. Without one the tests still count, but
# nobody should believe that races were looked for.
race=-race
if [ "$(go env CGO_ENABLED)" != 1 ]; then
	race=""
	echo "WARNING: no C compiler found, so the race detector is off" >&2
fi

# check NAME COMMAND...: a step that passes or fails as a whole.
check() {
	name=$1
	shift
	echo "=== $name: $*"
	if "$@"; then
		echo pass >>"$reports/$name.check"
	else
		echo fail >>"$reports/$name.check"
		failed_steps="$failed_steps $name"
	fi
}

# gotest NAME FORMAT FLAGS-AND-PACKAGES...: a step made of Go tests. It takes the
# place of the shell that calls it: who ends that process ends the tests.
gotest() {
	name=$1
	format=$2
	shift 2
	echo "=== $name: go test $*"
	# Tests have small heaps, which Go would collect all the time.
	GOGC=${GOGC:-400} exec "$cache/bin/gotestsum" --format "$format" --format-icons text --hide-summary skipped \
		--jsonfile "$reports/$name.json" --junitfile "$reports/$name.xml" \
		--raw-command -- go test -json -shuffle=on "$@"
}

# list KIND: the packages of a kind, in $packages. A kind without packages is no
# failure; a tree that does not list is one.
list() {
	if ! packages=$(sh tools/make/packages.sh "$1"); then
		packages=""
		check "$1-list" false
	fi
}

# gopackages NAME KIND FORMAT FLAGS...: gotest over all packages of a kind.
gopackages() {
	list "$2"
	name=$1
	format=$3
	shift 3
	# Word splitting of the package list is wanted.
	# shellcheck disable=SC2086
	[ -z "$packages" ] || (gotest "$name" "$format" "$@" $packages) || failed_steps="$failed_steps $name"
}

# The e2e step is a process of its own from its start on; e2e_ended waits for it.
# One package at a time: each starts a mesh of its own.
e2e_process=""
e2e_log="$reports/e2e.log"
e2e_start() {
	list e2e
	[ -n "$packages" ] || return 0
	# Flags and packages split into words.
	# shellcheck disable=SC2086
	gotest e2e testname $race -p 1 -timeout 30m ${E2E_FLAGS:-} $packages &
	e2e_process=$!
}

e2e_ended() {
	[ -n "$e2e_process" ] || return 0
	wait "$e2e_process" || failed_steps="$failed_steps e2e"
	e2e_process=""
}

# A process in the background hears nothing of an interrupt.
trap '[ -z "$e2e_process" ] || kill "$e2e_process" 2>/dev/null || true' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

case " $* " in
" e2e ") ;;
*" e2e "*)
	echo "=== e2e runs beside the other steps, and what it says follows: $e2e_log"
	e2e_start >"$e2e_log" 2>&1
	;;
esac

for step in "$@"; do
	case $step in
	generated) check generated sh tools/make/generate.sh verify ;;
	lint) check lint sh tools/make/lint.sh ;;
	console) check console sh tools/make/console.sh check ;;
	unit)
		# Flags split into words here and below.
		# shellcheck disable=SC2086
		gopackages unit unit pkgname $race -timeout 20m ${UNIT_FLAGS:-}
		# Without the race detector: see packages.sh for why.
		# shellcheck disable=SC2086
		gopackages unit-pure pure pkgname -timeout 20m ${UNIT_FLAGS:-}
		# shellcheck disable=SC2086
		gopackages unit-long long pkgname -timeout 20m "-run=$(sh tools/make/packages.sh long-tests)" ${UNIT_FLAGS:-}
		# shellcheck disable=SC2086
		gopackages unit-istio istio pkgname -timeout 20m ${UNIT_FLAGS:-}
		;;
	validation)
		# A module of its own, since it links Istio: what Istio's own webhook says
		# of every golden file.
		check validation go -C test/oracle/istio test ./...
		# Another, since it links ExternalDNS: two tools on one zone.
		check validation-externaldns go -C test/oracle/externaldns test ./...
		# And another with cert-manager's own controllers: two engines and one Secret.
		check validation-certmanager go -C test/oracle/certmanager test ./...
		# And another with the engine of Flux and the library by which it waits for health.
		check validation-flux go -C test/oracle/flux test ./...
		# And the peer that only the benchmark runs: it has to build.
		check validation-lego go -C test/oracle/lego vet ./...
		;;
	e2e)
		# Without the race detector, since it links Istio; beside the others.
		# shellcheck disable=SC2086
		gopackages e2e-istio e2e-istio testname -p 1 -timeout 30m ${E2E_FLAGS:-}
		if [ -f "$e2e_log" ]; then
			e2e_ended
			cat "$e2e_log"
		else
			e2e_start
			e2e_ended
		fi
		;;
	*)
		echo "unknown step $step" >&2
		exit 2
		;;
	esac
done

sh tools/make/count.sh "$reports"
[ -z "$failed_steps" ] || {
	echo "failed:$failed_steps" >&2
	exit 1
}
