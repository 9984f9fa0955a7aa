// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package parallel_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/parallel"
)

func TestAPanicOfAPieceOfWorkIsOneOfWhoeverWaits(t *testing.T) {
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, "too odd") || !strings.Contains(p, "each_test.go") {
			t.Errorf("it panics with %s", p)
		}
	}()
	parallel.Each(3, 2, func(int) { panic("too odd") })
}
