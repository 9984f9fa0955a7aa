// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package collect

import (
	"errors"
	"strconv"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	logsv1 "go.opentelemetry.io/proto/otlp/logs/v1"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// maxAttributes is how many attributes of a record, or of what sent it, are read: three
// times as many as Istio's format has fields.
const maxAttributes = 64

var errAttributes = errors.New("reading a log record: it has more attributes than are read")

// each calls yield with each record of an export.
func each(r *collectorv1.ExportLogsServiceRequest, yield func(*accesslog.Entry, error)) {
	for _, of := range r.GetResourceLogs() {
		resource := accesslog.Attributes{}
		fits := add(resource, of.GetResource().GetAttributes())
		for _, scope := range of.GetScopeLogs() {
			for _, rec := range scope.GetLogRecords() {
				if !fits {
					yield(nil, errAttributes)
					continue
				}
				yield(entry(rec, resource))
			}
		}
	}
}

// count is how many records an export has.
func count(r *collectorv1.ExportLogsServiceRequest) int {
	n := 0
	for _, of := range r.GetResourceLogs() {
		for _, scope := range of.GetScopeLogs() {
			n += len(scope.GetLogRecords())
		}
	}
	return n
}

func entry(rec *logsv1.LogRecord, resource accesslog.Attributes) (*accesslog.Entry, error) {
	out := accesslog.Record{
		Time: rec.GetTimeUnixNano(), Attributes: make(accesslog.Attributes, len(rec.GetAttributes())), Resource: resource,
	}
	fits := add(out.Attributes, rec.GetAttributes())
	switch body := rec.GetBody().GetValue().(type) {
	case *commonv1.AnyValue_StringValue:
		if body.StringValue != "" {
			out.Body = &body.StringValue
		}
	case *commonv1.AnyValue_KvlistValue:
		fits = fits && add(out.Attributes, body.KvlistValue.GetValues())
	}
	if !fits {
		return nil, errAttributes
	}
	return out.Entry()
}

// add takes attributes that are text or numbers; others say nothing here. False: there
// are too many.
func add(to accesslog.Attributes, from []*commonv1.KeyValue) bool {
	for _, kv := range from {
		switch v := kv.GetValue().GetValue().(type) {
		case *commonv1.AnyValue_StringValue:
			to.Set(kv.GetKey(), v.StringValue)
		case *commonv1.AnyValue_IntValue:
			to.Set(kv.GetKey(), strconv.FormatInt(v.IntValue, 10))
		case *commonv1.AnyValue_DoubleValue:
			to.Set(kv.GetKey(), strconv.FormatFloat(v.DoubleValue, 'f', -1, 64))
		}
	}
	return len(from) <= maxAttributes
}
