#!/bin/sh
# Builds the web console into internal/console/dist, from where Go embeds it, with the
# pinned Node and nothing of the machine's.
#   console.sh build    build it unless it is of these sources already
#   console.sh check    types, linter and unit tests
#   console.sh types    src/api/schema.d.ts from docs/reference/openapi.json
#   console.sh deps     only what npm installs, for what drives a browser
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cache=${TRELLIS_CACHE:-$root/.cache}
node="$cache/node/bin/node"
web="$root/web/console"
dist="$root/internal/console/dist"
cd "$web"
PATH="$cache/node/bin:$PATH"
export PATH

# installed makes node_modules what the lock file says, once for each lock file.
installed() {
	lock=node_modules/.installed
	of=$(cat package-lock.json package.json .npmrc | sha256sum)
	[ "$(cat "$lock" 2>/dev/null)" = "$of" ] && return
	echo "installing what web/console/package-lock.json pins"
	"$node" "$cache/node/npm/bin/npm-cli.js" ci --no-progress
	printf '%s\n' "$of" >"$lock"
}

# sources is a digest of everything that decides what is built.
sources() {
	find src public index.html vite.config.ts tsconfig.json package-lock.json -type f | LC_ALL=C sort | xargs sha256sum | sha256sum
}

case $1 in
build)
	stamp="$web/node_modules/.built"
	want=$(sources)
	if [ -f "$dist/index.html" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$want" ]; then
		echo "console: up to date"
		exit
	fi
	installed
	find "$dist" -mindepth 1 ! -name .gitkeep -delete
	"$node" node_modules/.bin/tsc --noEmit
	"$node" node_modules/.bin/vite build --logLevel warn
	printf '%s\n' "$want" >"$stamp"
	echo "console: built"
	;;
check)
	installed
	"$node" node_modules/.bin/tsc --noEmit
	"$node" node_modules/.bin/eslint --max-warnings 0 .
	"$node" node_modules/.bin/vitest run src
	;;
types)
	installed
	"$node" node_modules/.bin/openapi-typescript ../../docs/reference/openapi.json --output src/api/schema.d.ts --alphabetize
	;;
deps) installed ;;
*)
	echo "usage: console.sh build | check | types | deps" >&2
	exit 2
	;;
esac
