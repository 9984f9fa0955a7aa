// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package source

import (
	"fmt"
	"time"
)

// Moment is the moment of the flag, or else this one.
func (o *Options) Moment(now time.Time) time.Time {
	if o.At.IsZero() {
		return now
	}
	return o.At
}

// moment reads a flag into a time; the zero time is none.
type moment struct{ at *time.Time }

// Set implements pflag.Value.
func (m moment) Set(text string) error {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return fmt.Errorf("it is no date with time and zone (RFC 3339), such as %s", time.Date(2027, 1, 31, 12, 0, 0, 0, time.UTC).Format(time.RFC3339))
	}
	*m.at = at
	return nil
}

// String implements pflag.Value.
func (m moment) String() string {
	if m.at == nil || m.at.IsZero() {
		return ""
	}
	return m.at.Format(time.RFC3339)
}

// Type implements pflag.Value.
func (moment) Type() string { return "time" }
