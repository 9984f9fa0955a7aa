// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/trellis-mesh/trellis/internal/traffic"
)

// ServeHTTP answers traffic.Path: what was seen since a time. Who may ask is for somebody
// else to decide.
func (c *Collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "only GET is answered here", http.StatusMethodNotAllowed)
		return
	}
	from, err := time.Parse(time.RFC3339Nano, r.URL.Query().Get(traffic.From))
	if err != nil {
		http.Error(w, "the parameter "+traffic.From+" is to be a time of RFC 3339", http.StatusBadRequest)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(c.Seen(from)); err != nil {
		c.config.Log.Debug("a caller went away", "error", err)
	}
}

// Seen is what was seen since a time, as far as it has been read.
func (c *Collector) Seen(from time.Time) traffic.Seen { return c.tally.Seen(from, c.readUntil()) }

// readUntil is up to when all that came has been read.
func (c *Collector) readUntil() time.Time {
	now := c.config.Clock.Now()
	if c.queued.Load() > 0 {
		if read := c.unread(); read.Before(now) {
			now = read
		}
	}
	return now
}
