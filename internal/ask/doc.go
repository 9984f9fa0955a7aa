// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package ask answers the questions that people have about access: may this
// request pass, who can reach that workload, what is exposed, what does a change
// open. It puts package decide's verdicts in the words of whoever asks: names in
// place of addresses, and beside each rule of Envoy the statement that it was made
// from.
//
// Everything is a value: a World is one moment, and an answer about it never
// changes. Each answer has a witness, a request that shows it.
package ask
