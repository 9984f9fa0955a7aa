#!/bin/sh
# Runs the named steps of `make test` in order, never stops at the first failure,
# and ends with one line that counts everything: "N passed, N failed".
# Steps: generated lint unit validation e2e. Reports (JSON, JUnit) land in .cache/test.
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

# gotest NAME FORMAT FLAGS-AND-PACKAGES...: a step made of Go tests.
gotest() {
	name=$1
	format=$2
	shift 2
	echo "=== $name: go test $*"
	"$cache/bin/gotestsum" --format "$format" --format-icons text --hide-summary skipped \
		--jsonfile "$reports/$name.json" --junitfile "$reports/$name.xml" \
		--raw-command -- go test -json -shuffle=on "$@" || failed_steps="$failed_steps $name"
}

# gopackages NAME KIND FORMAT FLAGS...: gotest over all packages of a kind. A
# kind without packages is no failure; a tree that does not list is one.
gopackages() {
	name=$1
	format=$3
	if ! packages=$(sh tools/make/packages.sh "$2"); then
		check "$name-list" false
		return
	fi
	shift 3
	# Word splitting of the package list is wanted.
	# shellcheck disable=SC2086
	[ -z "$packages" ] || gotest "$name" "$format" "$@" $packages
}

for step in "$@"; do
	case $step in
	generated) check generated sh tools/make/generate.sh verify ;;
	lint) check lint sh tools/make/lint.sh ;;
	unit)
		# Flags split into words here and below.
		# shellcheck disable=SC2086
		gopackages unit unit pkgname $race -timeout 10m ${UNIT_FLAGS:-}
		# shellcheck disable=SC2086
		gopackages unit-istio istio pkgname -timeout 10m ${UNIT_FLAGS:-}
		;;
	validation)
		# A module of its own, since it links Istio: what Istio's own webhook says
		# of every golden file.
		check validation go -C test/oracle/istio test ./...
		# Another, since it links ExternalDNS: two tools on one zone.
		check validation-externaldns go -C test/oracle/externaldns test ./...
		;;
	e2e)
		# One package at a time: each starts a mesh of its own.
		# shellcheck disable=SC2086
		gopackages e2e e2e testname $race -p 1 -timeout 30m ${E2E_FLAGS:-}
		# shellcheck disable=SC2086
		gopackages e2e-istio e2e-istio testname -p 1 -timeout 30m ${E2E_FLAGS:-}
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
