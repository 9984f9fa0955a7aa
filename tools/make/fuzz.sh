#!/bin/sh
# Runs every fuzz test of the root module for the given time, one after another:
# go test accepts a single fuzz target per run.
set -eu
cd "$(dirname "$0")/../.."
time=${1:-30s}
status=0

for file in $(git ls-files --cached --others --exclude-standard '*_test.go' | xargs grep -l '^func Fuzz' | sort); do
	for name in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$file"); do
		echo "fuzzing $(dirname "$file") $name for $time"
		go test "./$(dirname "$file")" -run '^$' -fuzz "^$name\$" -fuzztime "$time" || status=1
	done
done
exit $status
