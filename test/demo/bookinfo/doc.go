// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package bookinfo is the application of the demo: three small HTTP services with
// the ports and paths of Istio's Bookinfo sample, whose images the Deployments in
// examples/bookinfo name. The product page calls the other two, and how its calls
// leave the workload is the caller's business. Nothing here knows of the mesh:
// that is what an application looks like.
package bookinfo
