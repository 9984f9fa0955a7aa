// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"bytes"
	"errors"
)

// JSON is a value whose type another object declares. Raw is valid JSON; empty means
// null.
//
// +kubebuilder:validation:Schemaless
type JSON struct {
	Raw []byte `json:"-"`
}

// MarshalJSON returns Raw.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j.Raw) == 0 {
		return []byte("null"), nil
	}
	return j.Raw, nil
}

// UnmarshalJSON keeps a copy of data.
func (j *JSON) UnmarshalJSON(data []byte) error {
	if j == nil {
		return errors.New("v1alpha1.JSON: UnmarshalJSON on nil pointer")
	}
	j.Raw = nil
	if !bytes.Equal(data, []byte("null")) {
		j.Raw = bytes.Clone(data)
	}
	return nil
}
