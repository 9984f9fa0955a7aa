// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package accesslog_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/trellis-mesh/trellis/internal/ask/accesslog"
)

// export is what a collector writes of records that have a resource in common.
func export(resource string, records ...string) string {
	return fmt.Sprintf(`{"resourceLogs":[{"resource":{"attributes":[%s]},"scopeLogs":[{"scope":{},"logRecords":[%s]}]}]}`, resource, strings.Join(records, ","))
}

// withBody is a record whose body is a text.
func withBody(text, attributes string) string {
	quoted, err := json.Marshal(text)
	if err != nil {
		panic(err)
	}
	return fmt.Sprintf(`{"timeUnixNano":"1772359200000000000","body":{"stringValue":%s},"attributes":[%s]}`, quoted, attributes)
}

func attribute(key, text string) string {
	return fmt.Sprintf(`{"key":%q,"value":{"stringValue":%q}}`, key, text)
}

var (
	labels = strings.Join([]string{
		attribute("method", "GET"), attribute("path", "/"), attribute("response_flags", "UF"), attribute("response_code", "503"),
		attribute("upstream_transport_failure_reason", "TLS_error:|1:x"), attribute("request_id", "7b5d"),
	}, ",")
	pod = attribute("k8s.pod.name", "web-7d") + "," + attribute("k8s.namespace.name", "shop")
)

func TestALogRecordOfOpenTelemetryIsRead(t *testing.T) {
	tlsFailure := attribute("downstream_transport_failure_reason", "TLS_error:|1:x")
	for name, c := range map[string]struct {
		line string
		want accesslog.Entry
	}{
		"a text in the body":              {export(pod, withBody(denied+"\n", "")), accesslog.Entry{Method: "GET", Code: 403, RequestID: "7b5d", Writer: accesslog.Writer{Namespace: "shop", Pod: "web-7d"}}},
		"one record by itself":            {withBody(denied, ""), accesslog.Entry{Method: "GET", Code: 403, RequestID: "7b5d"}},
		"a body in Istio's JSON":          {withBody(served, ""), accesslog.Entry{Method: "GET", Code: 200}},
		"labels":                          {export(pod, withBody("", labels)), accesslog.Entry{Method: "GET", Code: 503, RequestID: "7b5d", TransportFailure: "TLS_error:|1:x", Writer: accesslog.Writer{Namespace: "shop", Pod: "web-7d"}}},
		"labels beside a text of its own": {withBody("it went wrong", labels), accesslog.Entry{Method: "GET", Code: 503, RequestID: "7b5d", TransportFailure: "TLS_error:|1:x"}},
		"a label that the text lacks":     {withBody(listener, tlsFailure), accesslog.Entry{DownstreamFailure: "TLS_error:|1:x"}},
		"a number":                        {`{"attributes":[{"key":"response_code","value":{"intValue":"503"}}]}`, accesslog.Entry{Code: 503}},
		"key values in the body":          {`{"body":{"kvlistValue":{"values":[` + labels + `]}}}`, accesslog.Entry{Method: "GET", Code: 503, RequestID: "7b5d", TransportFailure: "TLS_error:|1:x"}},
		"attributes as an object":         {`{"body":"","attributes":{"http.response.status_code":503,"http.request.method":"GET"},"resource":{"k8s.pod.name":"web-7d"}}`, accesslog.Entry{Method: "GET", Code: 503, Writer: accesslog.Writer{Pod: "web-7d"}}},
		"the node of Envoy":               {export(attribute("node_name", "sidecar~10.0.0.8~web.7d.shop~shop.svc.cluster.local"), withBody(denied, "")), accesslog.Entry{Method: "GET", Code: 403, RequestID: "7b5d", Writer: accesslog.Writer{Namespace: "shop", Pod: "web.7d"}}},
		"fields of Istio beside a body":   {`{"response_code":503,"method":"GET","body":"no healthy upstream"}`, accesslog.Entry{Method: "GET", Code: 503}},
		"Istio's name before another's":   {`{"attributes":{"status":"500","response_code":"503"}}`, accesslog.Entry{Code: 503}},
	} {
		t.Run(name, func(t *testing.T) {
			e, err := accesslog.Parse(c.line)
			if err != nil {
				t.Fatal(err)
			}
			got := accesslog.Entry{
				Method: e.Method, Code: e.Code, RequestID: e.RequestID, TransportFailure: e.TransportFailure, DownstreamFailure: e.DownstreamFailure, Writer: e.Writer,
			}
			if fmt.Sprintf("%+v", got) != fmt.Sprintf("%+v", c.want) {
				t.Errorf("%+v, want %+v", got, c.want)
			}
		})
	}
}

func TestTheTimeOfARecordStandsInForThatOfTheRequest(t *testing.T) {
	e, err := accesslog.Parse(withBody("", labels))
	if err != nil || !e.Start.Equal(time.Date(2026, 3, 1, 10, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", e, err)
	}
}

func TestAnExportHoldsManyEntries(t *testing.T) {
	line := export(pod, withBody(denied, ""), withBody("nothing", ""), withBody(served, ""))
	entries, errs := accesslog.ParseAll(line)
	if len(entries) != 2 || len(errs) != 1 || entries[0].Code != 403 || entries[1].Code != 200 || entries[1].Writer.Pod != "web-7d" {
		t.Errorf("%+v, %v", entries, errs)
	}
	if _, err := accesslog.Parse(line); !errors.Is(err, accesslog.ErrSeveral) {
		t.Errorf("read as one: %v", err)
	}
	many := make([]string, 2000)
	for i := range many {
		many[i] = withBody(denied, "")
	}
	if entries, errs = accesslog.ParseAll(export(pod, many...)); len(entries) != len(many) || len(errs) != 0 {
		t.Errorf("%d of %d records, %v", len(entries), len(many), errs)
	}
}

func TestWhatIsNoRecordIsAnErrorAndNothingElse(t *testing.T) {
	for name, line := range map[string]string{
		"no records":            `{"resourceLogs":[]}`,
		"cut":                   export(pod, withBody(denied, ""))[:300],
		"an empty record":       `{"attributes":[],"body":{"stringValue":""}}`,
		"attributes as text":    `{"attributes":"a"}`,
		"deep":                  `{"body":` + strings.Repeat(`{"kvlistValue":{"values":[{"key":"a","value":`, 3000) + strings.Repeat(`}]}}`, 3000) + `}`,
		"a body that is longer": withBody(strings.Repeat("x", accesslog.MaxLine+1), ""),
		"too long":              `{"resourceLogs":[` + strings.Repeat(" ", accesslog.MaxBatch) + `]}`,
	} {
		if entries, errs := accesslog.ParseAll(line); len(entries) != 0 || len(errs) != 1 {
			t.Errorf("%s: %+v, %v", name, entries, errs)
		}
	}
}

func FuzzParseAll(f *testing.F) {
	for _, seed := range []string{
		denied, served, listener, broken, export(pod, withBody(denied, ""), withBody("", labels)), withBody(served, labels),
		`{"body":{"kvlistValue":{"values":[]}},"attributes":{"a":1}}`, `{"resourceLogs":[{"scopeLogs":null}]}`, `{"attributes":null,"body":null}`,
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		entries, errs := accesslog.ParseAll(line)
		if len(entries)+len(errs) == 0 {
			t.Fatal("neither an entry nor an error")
		}
		for _, e := range entries {
			if e.Code < 0 || e.Code > 999 {
				t.Errorf("status %d", e.Code)
			}
			_ = e.Ending()
		}
		again, _ := accesslog.ParseAll(line)
		if len(again) != len(entries) {
			t.Fatalf("%d entries, and then %d", len(entries), len(again))
		}
		for i := range entries {
			if fmt.Sprintf("%+v", again[i]) != fmt.Sprintf("%+v", entries[i]) {
				t.Errorf("%+v, and then %+v", entries[i], again[i])
			}
		}
	})
}
