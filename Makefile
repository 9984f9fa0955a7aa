# `make` or `make help` lists what can be done. Needs Go, Python 3 with pip, git and make.
# Everything built for development lands in .cache, everything for users in bin.

MAKEFLAGS += --warn-undefined-variables --no-builtin-rules
SHELL := /bin/sh
.SHELLFLAGS := -eu -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# Where tools and reports land; several checkouts may share one folder of tools.
export TRELLIS_CACHE ?= $(CURDIR)/.cache
TOOLS := $(TRELLIS_CACHE)/bin
BIN   := bin

# Overridable on the command line: make test UNIT_FLAGS=-run=TestName
UNIT_FLAGS  ?=
E2E_FLAGS   ?=
BENCH_FLAGS ?=
FUZZTIME    ?= 30s
# Of make oracle: the same SEED makes the same meshes, of which FIRST is the first.
SEED        ?= 1
FIRST       ?= 0
WORLDS      ?= 2000
REQUESTS    ?= 100

include tools/make/version.mk

##@ Use

.PHONY: help
help: ## Show this list
	@awk 'BEGIN { FS = ":.*## " } \
	  /^##@/ { printf "\n%s\n", substr($$0, 5) } \
	  /^[a-z0-9-]+:.*## / { printf "  %-18s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

.PHONY: demo
demo: console ## Start a real mesh on this machine and watch two documents become a secured endpoint
	go run ./test/demo

.PHONY: build
build: console ## Build the CLI, the operator and the server for users into bin/
	CGO_ENABLED=0 go build -ldflags '$(LDFLAGS)' -o $(BIN)/ ./cmd/...
	ln -sf trellis $(BIN)/kubectl-trellis

##@ Develop

.PHONY: tools
tools: ## Build the pinned servers of the local stack and Helm (minutes once, nothing after)
	go run ./tools/cmd/tools

.PHONY: console
console: node ## Build the web console, which trellis-server embeds (nothing where it is built)
	sh tools/make/console.sh build

.PHONY: console-types
console-types: node ## Write the console's types from docs/reference/openapi.json
	sh tools/make/console.sh types

# The tools that only developers need, each built when first asked for.
.PHONY: linter generator stores node
node:
	go run ./tools/cmd/tools node

stores:
	go run ./tools/cmd/tools prometheus promtool victoria-metrics

linter:
	go run ./tools/cmd/tools golangci-lint

generator:
	go run ./tools/cmd/tools controller-gen helm

$(TOOLS)/gotestsum: tools/test/go.sum
	go -C tools/test build -trimpath -o $@ gotest.tools/gotestsum
	@touch $@

.PHONY: generate
generate: generator ## Write deep-copy code, CRDs, the chart's copy of them and config/rbac
	sh tools/make/generate.sh write

.PHONY: verify-generated
verify-generated: generator ## Fail when a generated file is not what `make generate` writes
	sh tools/make/generate.sh verify

.PHONY: lint
lint: linter ## Run golangci-lint with the house limits on both modules
	sh tools/make/lint.sh

.PHONY: fix
fix: linter ## Format, and let golangci-lint repair what it can
	sh tools/make/lint.sh --fix

##@ Test

.PHONY: test
test: tools stores linter generator console $(TOOLS)/gotestsum ## Check generated files, lint, unit tests with the race detector, end-to-end tests
	UNIT_FLAGS='$(UNIT_FLAGS)' E2E_FLAGS='$(E2E_FLAGS)' sh tools/make/test.sh generated lint console unit validation e2e

.PHONY: unit
unit: tools stores $(TOOLS)/gotestsum ## Only the unit tests
	UNIT_FLAGS='$(UNIT_FLAGS)' sh tools/make/test.sh unit

.PHONY: e2e
e2e: tools console $(TOOLS)/gotestsum ## Only the end-to-end tests, on the real stack
	E2E_FLAGS='$(E2E_FLAGS)' sh tools/make/test.sh e2e

.PHONY: fuzz
fuzz: tools ## Run each fuzz test for FUZZTIME (30s)
	sh tools/make/fuzz.sh $(FUZZTIME)

.PHONY: oracle
oracle: tools ## Decide and send REQUESTS (100) in each of WORLDS (2000) random meshes
	go test ./test/oracle/mesh -run TestEveryRequest -count 1 -timeout 12h -v -seed $(SEED) -first $(FIRST) -worlds $(WORLDS) -requests $(REQUESTS)

.PHONY: bench
bench: tools ## Measure compile, apply, status, memory, latency, DNS, certificates and policies
	go run ./test/bench $(BENCH_FLAGS)

##@ Clean

.PHONY: clean
clean: ## Remove what was built for users and the reports; tools stay
	rm -rf $(BIN) dist $(TRELLIS_CACHE)/test $(TRELLIS_CACHE)/generate.*
	find internal/console/dist -mindepth 1 ! -name .gitkeep -delete

.PHONY: distclean
distclean: clean ## Remove this checkout's tools and caches, too
	rm -rf .cache web/console/node_modules
