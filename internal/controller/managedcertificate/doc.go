// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package managedcertificate is the controller of ManagedCertificate: it keeps a
// Secret with something to serve in it, takes the steps of package acme towards a
// certificate, stores what each step says in the order that package asks for, and
// publishes the answers to challenges as data for others: HTTP answers in the
// status, which the gateway serves, and DNS entries as ManagedRecords.
//
// All that matters is in the API server. Of the objects, Secrets and the
// certificate itself are read past every cache: a step that is taken from a state
// of a moment ago could send an order twice. Secrets are not watched, because that
// would need the right to read all of them; each is looked at once a minute, and
// less often only where there are more than 1,200 certificates. A Secret that was
// deleted is back within that time.
package managedcertificate
