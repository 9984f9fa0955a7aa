// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package managedrecord is the controller of ManagedRecords and DNSProviders: it
// gives everything that is wanted of a provider's account to a dns.Engine at
// once, and writes down what became of it.
//
// Two things must outlive a crash, and are written before the zone is: our
// finalizer, on the ManagedRecord and on its DNSProvider, and the values of texts
// that others share a name with, since no mark in the zone says whose they are.
package managedrecord

import (
	"github.com/trellis-mesh/trellis/internal/apply"
)

// Finalizer keeps a ManagedRecord until what was written for it is taken back,
// and a DNSProvider as long as there are such ManagedRecords.
const Finalizer = "trellis.dev/dns"

// fieldOwner writes finalizers and statuses by patches, which the API server
// keeps apart from what the same owner applies.
const fieldOwner = apply.FieldManager
