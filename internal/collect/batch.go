// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// batch are entries that came together and wait.
type batch struct {
	entries interface {
		// each calls yield with each entry, or why it cannot be read, and count is how many
		// there are.
		each(yield func(*accesslog.Entry, error))
		count() int
	}
	// bytes are how many it has in memory.
	bytes int64
	at    time.Time
}

// export are those of OTLP.
type export struct {
	request *collectorv1.ExportLogsServiceRequest
}

func (e export) each(yield func(*accesslog.Entry, error)) { each(e.request, yield) }

func (e export) count() int { return count(e.request) }

// offer lets a batch wait; false: there is no room, and it is counted as lost. Where nothing
// waits there is room for any, since one may be longer than all that may wait.
func (c *Collector) offer(b batch) bool {
	if waiting := c.queued.Add(b.bytes); waiting <= maxQueued || waiting == b.bytes {
		select {
		case c.queue <- b:
			return true
		default:
		}
	}
	c.queued.Add(-b.bytes)
	c.lose(b.entries.count())
	return false
}
