// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package space splits all requests that may come to a door of a mesh (a port of a
// gateway, a port of a workload) into classes that no matcher on their way tells
// apart, and gives one request of each.
//
// It looks at the configuration of the proxies on the way only to find out what
// they look at. What becomes of a request is not its business: package decide says
// that, of the one request. A mistake here loses a class; it never makes a verdict
// wrong.
//
// Dimensions are split one after the other, host and path first, and only those
// that some rule still depends on, so that the classes of a host are those of its
// own rules.
package space
