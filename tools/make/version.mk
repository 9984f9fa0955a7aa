# The version stamped into binaries: the nearest tag, and without tags
# v0.0.0-COMMIT. Recursive on purpose, so that only `make build` asks git.

COMMIT   = $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo v0.0.0-$(COMMIT))
LDFLAGS  = -s -w -X github.com/trellis-mesh/trellis/internal/version.stamp=$(VERSION)
