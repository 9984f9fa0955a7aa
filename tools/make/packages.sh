#!/bin/sh
# Lists the packages that have tests, by how they must be run:
#   packages.sh unit   needs no running mesh and links none of Istio's own code
#   packages.sh pure   has one goroutine, so that there is nothing to race with
#                      (test/architecture checks that)
#   packages.sh long   has tests that are too long for the race detector: those of
#                      files with the build constraint !race
#   packages.sh istio  links Istio's own packages, which are not race-clean
#   packages.sh e2e    starts the real stack, or an Envoy by itself
#   packages.sh e2e-istio  does both
# The list follows the imports, so nobody has to keep it. Prints nothing when
# there is none, and fails when the tree cannot be listed: no tests found and
# tests that cannot be found are different things.
set -eu
cd "$(dirname "$0")/../.."

# packages.sh long-tests prints them as a pattern for -run.
long=$(grep -rlE --include='*_test.go' '^//go:build !race$' internal test || true)
case $1 in
long)
	for file in $long; do echo "./$(dirname "$file")"; done | sort -u
	exit
	;;
long-tests)
	# shellcheck disable=SC2086
	[ -z "$long" ] || sed -nE 's/^func (Test[A-Za-z0-9_]+)\(.*/\1/p' $long | sort -u | paste -sd '|' - | sed 's/.*/^(&)$/'
	exit
	;;
esac

tree=$(go list -test -f '{{.ImportPath}}{{range .Deps}} {{.}}{{end}}' ./...)
printf '%s\n' "$tree" | awk -v want="$1" '
	$1 !~ /\.test$/ { next }
	{
		name = substr($1, 1, length($1) - 5)
		kind = "unit"
		if (name ~ /\/internal\/(model|policy|intent|compile|decide|traffic|attribution|recount|suggestion)(\/|$)/) kind = "pure"
		if ($0 ~ / istio\.io\/istio\//) kind = "istio"
		if (name ~ /\/test\/(e2e|stack|demo|envoy|oracle\/(decide|listener|mesh|route|signature))(\/|$)/) kind = kind == "istio" ? "e2e-istio" : "e2e"
		if (name ~ /\/test\/oracle\/xds(\/|$)/) kind = "e2e-istio"
		if (kind == want) print name
	}' | sort -u | sed 's,^github.com/trellis-mesh/trellis,.,'
