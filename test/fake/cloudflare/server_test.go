// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/test/fake/cloudflare"
)

const token = "good-token-good-token-good-token-good-token"

// service is the API as the reference shows it: requests and answers as text.
type service struct {
	*cloudflare.Server
	base, zone string
}

func newService(t *testing.T) *service {
	t.Helper()
	s := &service{Server: cloudflare.New()}
	s.Token(token, cloudflare.Edit)
	s.zone = s.AddZone("example.test", "active", "full")
	web := httptest.NewServer(s)
	t.Cleanup(web.Close)
	s.base = web.URL + "/client/v4/zones"
	return s
}

// answer is what the reference says that every answer has.
type answer struct {
	Status  int
	Success bool             `json:"success"`
	Errors  []map[string]any `json:"errors"`
	Result  json.RawMessage  `json:"result"`
	Info    map[string]int   `json:"result_info"`
}

func (s *service) ask(t *testing.T, method, path, body string) answer {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.base+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	w, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = w.Body.Close() }()
	a := answer{Status: w.StatusCode}
	if err := json.NewDecoder(w.Body).Decode(&a); err != nil {
		t.Fatal(err)
	}
	if a.Success != (a.Status == http.StatusOK) || a.Success != (len(a.Errors) == 0) {
		t.Errorf("%s %s: status %d, success %t and errors %v do not fit", method, path, a.Status, a.Success, a.Errors)
	}
	return a
}

// batch sends a batch; ids of records are written as their contents in angle
// brackets.
func (s *service) batch(t *testing.T, body string) answer {
	t.Helper()
	for _, r := range s.Dump(s.zone) {
		body = strings.ReplaceAll(body, "<"+r.Content+">", r.ID)
	}
	return s.ask(t, http.MethodPost, "/"+s.zone+"/dns_records/batch", body)
}

func (s *service) contents() string {
	var out []string
	for _, r := range s.Dump(s.zone) {
		out = append(out, r.Type+" "+r.Name+" "+r.Content)
	}
	slices.Sort(out)
	return strings.Join(out, "\n")
}

func post(name, typ, content string, more ...string) string {
	return fmt.Sprintf(`{"name": %q, "type": %q, "content": %q, "ttl": 300%s}`, name, typ, content, strings.Join(more, ""))
}

func TestBatchesAreRefusedAsAWholeAndAsByTheService(t *testing.T) {
	s := newService(t)
	if a := s.batch(t, `{"posts": [`+post("www.example.test", "A", "192.0.2.1")+`, `+post("alias", "CNAME", "lb.example.net.")+`]}`); !a.Success {
		t.Fatal(a.Errors)
	}
	before := s.contents()
	if want := "A www.example.test 192.0.2.1\nCNAME alias.example.test lb.example.net"; before != want {
		t.Fatalf("there is\n%s\nwant\n%s", before, want)
	}
	var many []string
	for i := range 201 {
		many = append(many, post("www", "A", fmt.Sprintf("192.0.2.%d", i)))
	}
	for name, c := range map[string]struct {
		body string
		code int
	}{
		"an identical record":             {`{"posts": [` + post("other", "A", "192.0.2.1") + `, ` + post("www", "A", "192.0.2.1") + `]}`, 81058},
		"a CNAME beside an address":       {`{"posts": [` + post("www", "CNAME", "lb.example.net") + `]}`, 81053},
		"two CNAMEs":                      {`{"posts": [` + post("alias", "CNAME", "b.example.net") + `]}`, 81053},
		"an address beside a CNAME":       {`{"posts": [` + post("alias", "AAAA", "2001:db8::1") + `]}`, 81054},
		"a patch into what is there":      {`{"posts": [` + post("www", "A", "192.0.2.2") + `], "patches": [{"id": "<lb.example.net>", "name": "www", "type": "A", "content": "192.0.2.1"}]}`, 81058},
		"a delete of what is gone":        {`{"deletes": [{"id": "<192.0.2.1>"}, {"id": "00000000000000000000000000000000"}]}`, 81044},
		"a delete twice":                  {`{"deletes": [{"id": "<192.0.2.1>"}, {"id": "<192.0.2.1>"}]}`, 81044},
		"a patch of what the batch takes": {`{"deletes": [{"id": "<192.0.2.1>"}], "patches": [{"id": "<192.0.2.1>", "ttl": 60}]}`, 81044},
		"a TTL below a minute":            {`{"patches": [{"id": "<192.0.2.1>", "ttl": 59}]}`, 9021},
		"a long comment":                  {`{"posts": [` + post("new", "A", "192.0.2.1", `, "comment": "`+strings.Repeat("x", 101)+`"`) + `]}`, 9313},
		"a tag":                           {`{"posts": [` + post("new", "A", "192.0.2.1", `, "tags": ["a:b"]`) + `]}`, 9300},
		"a text behind the proxy":         {`{"posts": [` + post("new", "TXT", `"a"`, `, "proxied": true`) + `]}`, 9004},
		"an address that is none":         {`{"posts": [` + post("new", "A", "192.0.2.300") + `]}`, 9005},
		"a CNAME to itself":               {`{"posts": [` + post("new", "CNAME", "new.example.test") + `]}`, 9007},
		"a quote that does not end":       {`{"posts": [` + post("new", "TXT", `"open`) + `]}`, 9209},
		"an unknown type":                 {`{"posts": [` + post("new", "NEW", "x") + `]}`, 9001},
		"an id for a new record":          {`{"posts": [` + post("new", "A", "192.0.2.1", `, "id": "1"`) + `]}`, 9207},
		"an unknown field":                {`{"upserts": []}`, 9207},
		"nothing":                         {`{}`, 9207},
		"too many operations":             {`{"posts": [` + strings.Join(many, ",") + `]}`, 9207},
	} {
		a := s.batch(t, c.body)
		if a.Success || !strings.Contains(fmt.Sprint(a.Errors), fmt.Sprintf("code:%d", c.code)) {
			t.Errorf("%s gave %d %v, want %d", name, a.Status, a.Errors, c.code)
		}
		if is := s.contents(); is != before {
			t.Fatalf("%s: half of a batch that was refused has happened:\n%s", name, is)
		}
	}
}

func TestABatchDeletesBeforeItPatchesAndPatchesBeforeItPosts(t *testing.T) {
	s := newService(t)
	s.batch(t, `{"posts": [`+post("www", "A", "192.0.2.1")+`, `+post("www", "A", "192.0.2.2")+`]}`)
	a := s.batch(t, `{"posts": [`+post("www", "A", "192.0.2.2")+`], "patches": [{"id": "<192.0.2.2>", "content": "192.0.2.1"}], "deletes": [{"id": "<192.0.2.1>"}]}`)
	if !a.Success {
		t.Fatal(a.Errors)
	}
	var done map[string][]cloudflare.Record
	if err := json.Unmarshal(a.Result, &done); err != nil {
		t.Fatal(err)
	}
	if len(done["deletes"]) != 1 || done["deletes"][0].Content != "192.0.2.1" || done["patches"][0].Content != "192.0.2.1" || done["posts"][0].Content != "192.0.2.2" {
		t.Errorf("the answer is %+v, want the record that was deleted and those that are", done)
	}
}

func TestAPatchKeepsWhatItDoesNotNameAndAPutDoesNot(t *testing.T) {
	s := newService(t)
	s.batch(t, `{"posts": [`+post("www", "A", "192.0.2.1", `, "proxied": true, "comment": "mine"`)+`]}`)
	if r := s.Dump(s.zone)[0]; !r.Proxied || r.TTL != 1 {
		t.Fatalf("there is %+v, want a proxied record with an automatic TTL", r)
	}
	path := "/" + s.zone + "/dns_records/" + s.Dump(s.zone)[0].ID
	s.ask(t, http.MethodPatch, path, `{"content": "192.0.2.2"}`)
	if r := s.Dump(s.zone)[0]; !r.Proxied || *r.Comment != "mine" || r.Content != "192.0.2.2" {
		t.Errorf("after a patch there is %+v", r)
	}
	s.ask(t, http.MethodPut, path, post("www", "A", "192.0.2.3"))
	if r := s.Dump(s.zone)[0]; r.Proxied || r.Comment != nil || r.TTL != 300 {
		t.Errorf("after a put there is %+v", r)
	}
	if a := s.ask(t, http.MethodDelete, path, ""); !a.Success || s.contents() != "" {
		t.Errorf("deleting gave %v", a.Errors)
	}
	if a := s.ask(t, http.MethodGet, path, ""); a.Status != http.StatusNotFound {
		t.Errorf("what was deleted is answered %d", a.Status)
	}
}

func TestListsComeInPagesAndByName(t *testing.T) {
	s := newService(t)
	for i := range 5 {
		s.batch(t, `{"posts": [`+post(fmt.Sprintf("n%d", i), "A", "192.0.2.1")+`]}`)
	}
	seen := map[string]bool{}
	for page := 1; page <= 3; page++ {
		a := s.ask(t, http.MethodGet, fmt.Sprintf("/%s/dns_records?per_page=2&page=%d", s.zone, page), "")
		var list []cloudflare.Record
		if err := json.Unmarshal(a.Result, &list); err != nil {
			t.Fatal(err)
		}
		for _, r := range list {
			seen[r.Name] = true
		}
		want := map[string]int{"page": page, "per_page": 2, "count": len(list), "total_count": 5, "total_pages": 3}
		if !reflect.DeepEqual(a.Info, want) {
			t.Errorf("the page says %v, want %v", a.Info, want)
		}
	}
	if len(seen) != 5 {
		t.Errorf("the pages have %v", seen)
	}
	for query, count := range map[string]int{"name.exact=n3.example.test": 1, "name.exact=N3.EXAMPLE.test": 1, "name.exact=n3": 0, "type=TXT": 0, "page=9": 0} {
		a := s.ask(t, http.MethodGet, "/"+s.zone+"/dns_records?"+query, "")
		if !a.Success || strings.Count(string(a.Result), `"id"`) != count {
			t.Errorf("%s gave %s, want %d records", query, a.Result, count)
		}
	}
	if a := s.ask(t, http.MethodGet, "/"+s.zone+"/dns_records?per_page=0", ""); a.Success {
		t.Error("pages of nothing were accepted")
	}
}
