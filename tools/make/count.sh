#!/bin/sh
# Adds up a folder of reports and prints "N passed, N failed, N skipped". A
# package that fails without a failing test (it did not build, it panicked, it
# ran out of time) counts as one failure.
set -eu
cat "$1"/*.json "$1"/*.check /dev/null 2>/dev/null | awk '
	$0 == "pass" { passed++; next }
	$0 == "fail" { failed++; next }
	# Only the first keys of an event: an Output value may quote anything.
	{ head = $0; sub(/"Output":.*/, "", head); match(head, /"Package":"[^"]*"/); pkg = substr(head, RSTART, RLENGTH) }
	head ~ /"Action":"pass"/ && head ~ /"Test":/ { passed++ }
	head ~ /"Action":"skip"/ && head ~ /"Test":/ { skipped++ }
	head ~ /"Action":"fail"/ && head ~ /"Test":/ { failed++; named[pkg] = 1 }
	head ~ /"Action":"fail"/ && head !~ /"Test":/ { broken[pkg] = 1 }
	END {
		for (p in broken) if (!(p in named)) failed++
		printf "%d passed, %d failed, %d skipped\n", passed, failed, skipped
	}'
