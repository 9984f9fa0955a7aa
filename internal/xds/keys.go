// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import "encoding/json"

// unfetched is a JSON Web Key Set without keys that says where the keys are.
type unfetched struct {
	Keys []struct{} `json:"keys"`
	From string     `json:"trellis.dev/fetch"`
}

// UnfetchedKeys is what a source that does not call out writes as the inline keys
// of a JWT provider whose keys are fetched from a place. It is for
// evaluating only: an Envoy refuses a listener whose provider has no keys.
func UnfetchedKeys(from string) string {
	text, err := json.Marshal(unfetched{Keys: []struct{}{}, From: from})
	if err != nil {
		panic("xds: a string cannot be written as JSON: " + err.Error())
	}
	return string(text)
}

// KeysToFetch tells where the keys of a JWT provider are to be fetched, given its
// inline keys; false when these are the real ones.
func KeysToFetch(inline string) (from string, ok bool) {
	var read unfetched
	if json.Unmarshal([]byte(inline), &read) != nil || read.From == "" {
		return "", false
	}
	return read.From, true
}
