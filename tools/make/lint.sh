#!/bin/sh
# Lints both modules with one configuration. Arguments go to golangci-lint.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${TRELLIS_CACHE:-$root/.cache}
# Kept in the repository's own cache, so that two clones never share findings.
export GOLANGCI_LINT_CACHE="$cache/golangci-lint"

status=0
for module in . api; do
	cd "$root/$module"
	"$cache/bin/golangci-lint" run --config "$root/.golangci.yaml" "$@" ./... || status=$?
done
exit $status
