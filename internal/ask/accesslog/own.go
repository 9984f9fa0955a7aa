// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"encoding/json"
	"regexp"
	"strings"
)

// ownText is a line of Envoy's or of Istio's agent's own log, which go to the same place as
// the access log (istio pkg/log: time, level and scope between tabs).
var ownText = regexp.MustCompile(`^(?:\[pod/[a-z0-9./-]+\] )?\d{4}-\d\d-\d\dT[0-9:.]+(?:Z|[+-]\d\d:\d\d)\t(?:trace|debug|info|warn|warning|error|critical|fatal)\t`)

// Own reports whether a line that is no entry is of a proxy's own log.
func Own(line string) bool {
	if ownText.MatchString(line) {
		return true
	}
	var own struct{ Level, Time, Msg string }
	return strings.HasPrefix(line, "{") && json.Unmarshal([]byte(line), &own) == nil && own.Level != "" && own.Msg != ""
}
