#!/bin/sh
# Generates into a scratch copy, then either installs what differs or complains
# about it. One code path, so that `verify` cannot disagree with `write`.
#   generate.sh write | verify
#
#   api/**/zz_generated.deepcopy.go   from the types
#   config/crd/*.yaml                 from the types and their markers
#   charts/trellis/files/crds/*.yaml  the same files: Helm reads only its chart
#   charts/trellis-catalog/files      the policies of catalog/, for the same reason
#   config/rbac/rbac.yaml             from the chart, which explains each rule
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd)
cd "$root"
mode=$1
cache=${TRELLIS_CACHE:-$root/.cache}
bin="$cache/bin"
scratch="$cache/generate.$$"
trap 'rm -rf "$scratch"' EXIT
mkdir -p "$scratch/config/crd" "$scratch/config/rbac" "$scratch/charts"

cp -R api "$scratch/api"
cp -R charts/trellis "$scratch/charts/trellis"
find "$scratch/api" -name 'zz_generated.*' -exec rm {} +
rm -rf "$scratch/charts/trellis/files/crds"

# A module of its own inside the cache: no workspace may pull it into ours.
(cd "$scratch/api" && GOWORK=off "$bin/controller-gen" \
	object:headerFile="$root/tools/make/licence.go.txt" \
	crd paths=./... output:crd:dir="$scratch/config/crd")
mkdir -p "$scratch/charts/trellis/files/crds"
cp "$scratch"/config/crd/*.yaml "$scratch/charts/trellis/files/crds/"

policies=charts/trellis-catalog/files/policies
mkdir -p "$scratch/$policies"
for policy in catalog/*/policy.yaml; do
	cp "$policy" "$scratch/$policies/$(basename "$(dirname "$policy")").yaml"
done

# Defaults only: who needs other gateway namespaces uses the chart.
{
	echo "# Generated from charts/trellis by make generate. DO NOT EDIT."
	"$bin/helm" template trellis "$scratch/charts/trellis" --namespace trellis-system \
		--show-only templates/serviceaccount.yaml --show-only templates/rbac.yaml
} >"$scratch/config/rbac/rbac.yaml"

# Lists generated files below a root, sorted, so that a file which is generated
# no longer is noticed as much as one that is missing.
generated() {
	(cd "$1" && find api config/crd config/rbac charts/trellis/files/crds "$policies" -type f \
		\( -name 'zz_generated.*' -o -path 'config/crd/trellis*' -o -name rbac.yaml -o -path '*/files/crds/*' -o -path '*/files/policies/*' \) 2>/dev/null | sort)
}

stale=0
for file in $({ generated "$scratch"; generated "$root"; } | sort -u); do
	cmp -s "$scratch/$file" "$root/$file" && continue
	stale=1
	case $mode in
	write)
		if [ -f "$scratch/$file" ]; then
			mkdir -p "$(dirname "$root/$file")"
			cp "$scratch/$file" "$root/$file"
			echo "wrote $file"
		else
			rm "$root/$file"
			echo "removed $file"
		fi
		;;
	verify)
		echo "$file is not what the types and the chart give: run make generate" >&2
		diff -u "$root/$file" "$scratch/$file" 2>&1 | head -40 >&2 || true
		;;
	*)
		echo "usage: generate.sh write | verify" >&2
		exit 2
		;;
	esac
done
[ "$mode" = write ] || exit $stale
