// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog

import (
	"encoding/json"
	"errors"
	"maps"
	"strconv"
	"strings"
	"time"
)

// MaxBatch is the longest export of OpenTelemetry that is read, in bytes: what gRPC
// takes as one message by default.
const MaxBatch = 4 << 20

// records are an export of OpenTelemetry in OTLP/JSON (ExportLogsServiceRequest,
// which is a LogsData), or one record of it by itself.
type records struct {
	Resources []struct {
		Resource struct {
			Attributes attributes `json:"attributes"`
		} `json:"resource"`
		Scopes []struct {
			Records []record `json:"logRecords"`
		} `json:"scopeLogs"`
	} `json:"resourceLogs"`
	record
}

// record is a LogRecord. Envoy puts the text of the access log into its body and the
// labels of the format into its attributes
// (source/extensions/access_loggers/open_telemetry). A collector may have put the
// attributes of the resource beside them.
type record struct {
	Time       value      `json:"timeUnixNano"`
	Body       body       `json:"body"`
	Attributes attributes `json:"attributes"`
	Resource   attributes `json:"resource"`
}

// attributes are key values, as OTLP writes them or as one JSON object. Values that
// are lists or nested say nothing here.
type attributes map[string]value

// scalar is an AnyValue that holds text or a number.
type scalar struct {
	Text   *string `json:"stringValue"`
	Int    value   `json:"intValue"`
	Double value   `json:"doubleValue"`
}

func (s scalar) text() string {
	if s.Text != nil {
		return *s.Text
	}
	return string(s.Int + s.Double)
}

type keyValue struct {
	Key   string `json:"key"`
	Value scalar `json:"value"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *attributes) UnmarshalJSON(raw []byte) error {
	*a = attributes{}
	var list []keyValue
	if err := json.Unmarshal(raw, &list); err == nil {
		for _, kv := range list {
			(*a)[kv.Key] = value(given(kv.Value.text()))
		}
		return nil
	}
	if err := json.Unmarshal(raw, (*map[string]value)(a)); err != nil {
		return errors.New("attributes are neither a list nor an object")
	}
	return nil
}

// body is an AnyValue: text, or key values.
type body struct {
	scalar
	List struct {
		Values attributes `json:"values"`
	} `json:"kvlistValue"`
}

// UnmarshalJSON implements json.Unmarshaler: exporters that flatten records write
// the text itself.
func (b *body) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err == nil {
		b.Text = &text
		return nil
	}
	type plain body
	return json.Unmarshal(raw, (*plain)(b))
}

// Attributes are those of a record that was not written as OTLP/JSON, by their names.
// Nobody changes them once a record has them.
type Attributes map[string]value

// Set gives an attribute a text.
func (a Attributes) Set(name, text string) { a[name] = value(given(text)) }

// Record is a LogRecord that was not written as OTLP/JSON.
type Record struct {
	// Time is timeUnixNano; 0: it says none.
	Time uint64
	// Body is the text of the body; nil: it is none.
	Body *string
	// Attributes are the record's own and the key values of its body, and Resource those of
	// what sent it.
	Attributes, Resource Attributes
}

// Entry reads a record as ParseAll reads one in OTLP/JSON.
func (r *Record) Entry() (*Entry, error) {
	own := record{Attributes: attributes(r.Attributes)}
	own.Body.Text = r.Body
	if r.Time > 0 {
		own.Time = value(strconv.FormatUint(r.Time, 10))
	}
	return own.entry(attributes(r.Resource))
}

// parseRecords reads OpenTelemetry's shapes; nil for all else.
func parseRecords(line string) *records {
	out := &records{}
	if !strings.HasPrefix(strings.TrimSpace(line), "{") || json.Unmarshal([]byte(line), out) != nil {
		return nil
	}
	if out.Resources == nil && out.Attributes == nil && out.Body.Text == nil && out.Body.List.Values == nil {
		return nil
	}
	return out
}

// entries are those of all records, in order.
func (r *records) entries() ([]*Entry, []error) {
	var out []*Entry
	var errs []error
	add := func(rec *record, resource attributes) {
		e, err := rec.entry(resource)
		if err != nil {
			errs = append(errs, err)
			return
		}
		out = append(out, e)
	}
	if r.Resources == nil {
		add(&r.record, r.Resource)
	}
	for i := range r.Resources {
		for j := range r.Resources[i].Scopes {
			all := r.Resources[i].Scopes[j].Records
			for k := range all {
				add(&all[k], r.Resources[i].Resource.Attributes)
			}
		}
	}
	if len(out)+len(errs) == 0 {
		errs = append(errs, errNoRecords)
	}
	return out, errs
}

var errNoRecords = errors.New("reading a line of an access log: it is an export of OpenTelemetry without log records")

// entry reads the body, and what only the attributes say.
func (r *record) entry(resource attributes) (*Entry, error) {
	named := r.Attributes
	if len(r.Body.List.Values) > 0 {
		named = maps.Clone(r.Body.List.Values)
		for name, v := range r.Attributes {
			if _, ok := named[name]; !ok {
				named[name] = v
			}
		}
	}
	f := fieldsOf(named)
	out, err := f.entry()
	if r.Body.Text != nil {
		written, unwritten := parseOne(*r.Body.Text)
		switch {
		case unwritten == nil:
			out, err = written.with(f.unchecked()), nil
		case err != nil:
			err = unwritten
		}
	}
	if err != nil {
		return nil, err
	}
	if ns, err := strconv.ParseInt(string(r.Time), 10, 64); err == nil && ns > 0 && out.Start.IsZero() {
		out.Start = time.Unix(0, ns).UTC()
	}
	if w := writer(resource); w != (Writer{}) {
		out.Writer = w
	} else if w := writer(r.Attributes); w != (Writer{}) {
		out.Writer = w
	}
	return out, nil
}

// with takes from another entry of the same request what this one does not say and
// Istio's text format has no place for.
func (e *Entry) with(more *Entry) *Entry {
	for _, pair := range []struct{ own, other *string }{
		{&e.DownstreamFailure, &more.DownstreamFailure}, {&e.TLSVersion, &more.TLSVersion}, {&e.Peer, &more.Peer}, {&e.RequestID, &more.RequestID},
	} {
		if *pair.own == "" {
			*pair.own = *pair.other
		}
	}
	if !e.Direct.IsValid() {
		e.Direct = more.Direct
	}
	if e.RBAC == (RBAC{}) {
		e.RBAC = more.RBAC
	}
	e.Shows.ServerName = e.Shows.ServerName || more.Shows.ServerName
	e.Shows.TLSVersion = e.Shows.TLSVersion || more.Shows.TLSVersion
	e.Shows.Peer = e.Shows.Peer || more.Shows.Peer
	return e
}

// writer is the pod of attributes: as a collector names it by OpenTelemetry's
// conventions, or as Envoy does by its node (node_name, in Istio's form
// TYPE~IP~POD.NAMESPACE~DOMAIN).
func writer(a attributes) Writer {
	if a["k8s.pod.name"] != "" || a["k8s.namespace.name"] != "" {
		return Writer{Namespace: string(a["k8s.namespace.name"]), Pod: string(a["k8s.pod.name"])}
	}
	return WriterOf(string(a["node_name"]))
}

// WriterOf is the pod that the id of an Envoy's node names; empty where it is none of
// Istio's.
func WriterOf(node string) Writer {
	const longest = 1024
	parts := strings.SplitN(node, "~", 5)
	if len(parts) != 4 || len(node) > longest {
		return Writer{}
	}
	dot := strings.LastIndexByte(parts[2], '.')
	if dot < 0 {
		return Writer{}
	}
	return Writer{Namespace: parts[2][dot+1:], Pod: parts[2][:dot]}
}
