// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package clouddns

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Project is the only one there is.
const Project = "trellis-test"

// maxBody is how many octets of a request are read.
const maxBody = 10 << 20

// Fault is what becomes of a request.
type Fault int

// The faults. Cut ends the connection before the request is seen, Lose after it
// was served, so that its answer is lost.
const (
	Serve Fault = iota
	Cut
	Lose
	Unavailable
	Throttled
)

// Server is an http.Handler. Safe for concurrent use.
type Server struct {
	// Now is the clock; time.Now where nil.
	Now func() time.Time
	// PageSize is the largest page; 100 where zero.
	PageSize int
	// PendingReads is how often a change is seen pending before it is done.
	PendingReads int

	mu        sync.Mutex
	zones     map[string]*zone
	tokens    map[string]grant
	accounts  map[string]*account
	subjects  map[string]bool
	fault     func(call int, r *http.Request) Fault
	calls     int
	issued    int
	tokenless Fault
}

// grant is what an access token may do, and how long.
type grant struct {
	until time.Time
	// forbidden: the token is good, and its owner may do nothing here.
	forbidden bool
}

// New makes a server without zones.
func New() *Server {
	return &Server{zones: map[string]*zone{}, tokens: map[string]grant{}, accounts: map[string]*account{}, subjects: map[string]bool{}}
}

// Fail lets f decide about each request of the API from now on, counted from 1;
// nil serves all. Requests for tokens are not asked about.
func (s *Server) Fail(f func(call int, r *http.Request) Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fault, s.calls = f, 0
}

// FailTokens lets all requests for tokens end like this from now on.
func (s *Server) FailTokens(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokenless = f
}

// Calls is how many requests of the API came since Fail was last called.
func (s *Server) Calls() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// ServeHTTP serves the API below /dns/v1/, tokens for service accounts at /token
// and for federated identities at /sts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	if r.URL.Path == "/token" || r.URL.Path == "/sts" {
		s.serveTokens(w, r)
		return
	}
	s.calls++
	fault := Serve
	if s.fault != nil {
		fault = s.fault(s.calls, r)
	}
	var answer any
	var refusal *refusal
	switch fault {
	case Cut:
		panic(http.ErrAbortHandler)
	case Unavailable:
		refusal = refuse(http.StatusServiceUnavailable, "backendError", "The service is currently unavailable.")
	case Throttled:
		w.Header().Set("Retry-After", "7")
		refusal = refuse(http.StatusForbidden, "rateLimitExceeded",
			"Quota exceeded for quota metric 'Write requests' and limit 'Write requests per minute'.")
	default:
		answer, refusal = s.serve(r)
	}
	if fault == Lose {
		panic(http.ErrAbortHandler)
	}
	write(w, answer, refusal)
}

// refusal is the envelope of errors.
type refusal struct {
	Error struct {
		Code    int          `json:"code"`
		Message string       `json:"message"`
		Errors  []refusedFor `json:"errors"`
	} `json:"error"`
}

type refusedFor struct {
	Message string `json:"message"`
	Domain  string `json:"domain"`
	Reason  string `json:"reason"`
}

func refuse(code int, reason, format string, args ...any) *refusal {
	message := fmt.Sprintf(format, args...)
	out := &refusal{}
	out.Error.Code, out.Error.Message = code, message
	out.Error.Errors = []refusedFor{{Message: message, Domain: "global", Reason: reason}}
	return out
}

func write(w http.ResponseWriter, answer any, refused *refusal) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	if refused != nil {
		w.WriteHeader(refused.Error.Code)
		answer = refused
	}
	// The client may be gone.
	_ = json.NewEncoder(w).Encode(answer)
}

// serve finds the method of a request.
func (s *Server) serve(r *http.Request) (any, *refusal) {
	if refused := s.authorise(r); refused != nil {
		return nil, refused
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/dns/v1/projects/"+Project+"/managedZones")
	if !ok {
		return nil, refuse(http.StatusForbidden, "forbidden", "Forbidden")
	}
	parts := strings.Split(path, "/")[1:]
	if path == "" {
		return s.listZones(r)
	}
	z := s.zone(parts[0])
	if z == nil {
		return nil, refuse(http.StatusNotFound, "notFound", "The 'parameters.managedZone' resource named '%s' does not exist.", parts[0])
	}
	switch where := r.Method + " " + strings.Join(parts[1:], "/"); {
	case where == "GET ":
		return z.ManagedZone, nil
	case where == "GET rrsets":
		return s.listSets(z, r)
	case where == "GET changes":
		return map[string]any{"kind": "dns#changesListResponse", "changes": z.changes}, nil
	case where == "POST changes":
		return s.change(z, r)
	case r.Method == http.MethodGet && len(parts) == 3 && parts[1] == "changes":
		return s.getChange(z, parts[2])
	}
	return nil, refuse(http.StatusNotImplemented, "notImplemented", "this stand-in does not know %s %s", r.Method, r.URL.Path)
}

// zone finds one by its name or its number.
func (s *Server) zone(id string) *zone {
	for _, z := range s.zones {
		if z.Name == id || z.ID == id {
			return z
		}
	}
	return nil
}

func (s *Server) listZones(r *http.Request) (any, *refusal) {
	if r.Method != http.MethodGet {
		return nil, refuse(http.StatusNotImplemented, "notImplemented", "this stand-in does not make zones")
	}
	names := slices.DeleteFunc(slices.Sorted(maps.Keys(s.zones)), func(name string) bool {
		only := r.URL.Query().Get("dnsName")
		return only != "" && s.zones[name].DNSName != only
	})
	page, next, refused := paged(s, r, names)
	if refused != nil {
		return nil, refused
	}
	list := []managedZone{}
	for _, name := range page {
		list = append(list, s.zones[name].ManagedZone)
	}
	return map[string]any{"kind": "dns#managedZonesListResponse", "managedZones": list, "nextPageToken": next}, nil
}

// paged cuts a sorted list of keys: the token is the last key that was given.
func paged(s *Server, r *http.Request, keys []string) (page []string, next string, refused *refusal) {
	query := r.URL.Query()
	size := s.PageSize
	if size == 0 {
		size = 100
	}
	if given := query.Get("maxResults"); given != "" {
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 {
			return nil, "", refuse(http.StatusBadRequest, "invalidParameter", "Invalid value '%s' for 'maxResults'", given)
		}
		size = min(size, n)
	}
	if token := query.Get("pageToken"); token != "" {
		last, err := base64.URLEncoding.DecodeString(token)
		if err != nil {
			return nil, "", refuse(http.StatusBadRequest, "invalid", "Invalid value for 'parameters.pageToken': '%s'", token)
		}
		keys = slices.DeleteFunc(keys, func(k string) bool { return k <= string(last) })
	}
	if len(keys) <= size {
		return keys, "", nil
	}
	return keys[:size], base64.URLEncoding.EncodeToString([]byte(keys[size-1])), nil
}

func (s *Server) now() time.Time {
	if s.Now == nil {
		return time.Now()
	}
	return s.Now()
}
