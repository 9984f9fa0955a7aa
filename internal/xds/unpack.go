// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds

import (
	"crypto/sha256"
	"fmt"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

// packed is a message that is written as bytes, by its type and their digest: each
// filter chain of a gateway repeats the same.
type packed struct {
	kind   string
	digest [sha256.Size]byte
}

type unpacked struct {
	message proto.Message
	err     error
}

// Unpack reads a message of a Config once for all who ask for it. Read only.
func Unpack[T any, M interface {
	*T
	proto.Message
}](c *Config, any *anypb.Any) (M, error) {
	out := c.unpacked.Get(packed{any.GetTypeUrl(), sha256.Sum256(any.GetValue())}, func() unpacked {
		m := M(new(T))
		if err := any.UnmarshalTo(m); err != nil {
			return unpacked{err: fmt.Errorf("reading a %s: %w", any.GetTypeUrl(), err)}
		}
		return unpacked{message: m}
	})
	m, ok := out.message.(M)
	if out.err == nil && !ok {
		return nil, fmt.Errorf("reading a %s: it is asked for as %T", any.GetTypeUrl(), m)
	}
	return m, out.err
}
