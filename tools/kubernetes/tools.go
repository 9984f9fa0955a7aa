// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

//go:build tools

// Package tools pins the Kubernetes parts of the local stack: the API server,
// its etcd, and kubectl for people who play with it.
package tools

import (
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/cmd/kube-apiserver"
	_ "k8s.io/kubernetes/cmd/kubectl"
)
