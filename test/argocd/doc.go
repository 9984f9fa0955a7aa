// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package argocd runs config/argocd/health.lua as Argo CD does, by the same interpreter,
// which is a tool with a module of its own.
package argocd
