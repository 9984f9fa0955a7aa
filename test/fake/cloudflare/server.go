// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cloudflare

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// The limits of the free plan, and of requests.
const (
	maxOperations = 200
	maxComment    = 100
	maxText       = 8192
	maxPerPage    = 5_000_000
	maxBody       = 10 << 20
)

// Fault is what becomes of a request.
type Fault int

// The faults. Cut ends the connection before the request is seen, Lose after it
// was served, so that its answer is lost. Garbled is a proxy's page in HTML.
const (
	Serve Fault = iota
	Cut
	Lose
	Unavailable
	Throttled
	Garbled
)

// Access is what a token may do.
type Access int

// The accesses. Expired tokens were good; Zoneless ones see no zone.
const (
	Edit Access = iota
	ReadOnly
	Expired
	Zoneless
)

// Server is an http.Handler. Safe for concurrent use.
type Server struct {
	// PageSize is the largest page; that of the service where zero.
	PageSize int
	// MaxRecords is how many records a zone may have; any number where zero.
	MaxRecords int

	mu       sync.Mutex
	zones    []*zone
	tokens   map[string]Access
	revision int

	faults sync.Mutex
	fault  func(call int, r *http.Request) Fault
	calls  int
}

// New makes a server without zones.
func New() *Server { return &Server{tokens: map[string]Access{}} }

// Token makes a token known.
func (s *Server) Token(token string, a Access) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[token] = a
}

// Fail lets f decide about each request from now on, counted from 1; nil serves
// all. While it decides, f may use the server.
func (s *Server) Fail(f func(call int, r *http.Request) Fault) {
	s.faults.Lock()
	defer s.faults.Unlock()
	s.fault, s.calls = f, 0
}

// Calls is how many requests came since Fail was last called.
func (s *Server) Calls() int {
	s.faults.Lock()
	defer s.faults.Unlock()
	return s.calls
}

func (s *Server) decide(r *http.Request) Fault {
	s.faults.Lock()
	s.calls++
	call, f := s.calls, s.fault
	s.faults.Unlock()
	if f == nil {
		return Serve
	}
	return f(call, r)
}

// envelope is around every answer.
type envelope struct {
	Success  bool      `json:"success"`
	Errors   []problem `json:"errors"`
	Messages []problem `json:"messages"`
	Result   any       `json:"result"`
	Info     *info     `json:"result_info,omitempty"`
}

type info struct {
	Page       int `json:"page"`
	PerPage    int `json:"per_page"`
	Count      int `json:"count"`
	TotalCount int `json:"total_count"`
	TotalPages int `json:"total_pages"`
}

type problem struct {
	Code    int       `json:"code"`
	Message string    `json:"message"`
	Chain   []problem `json:"error_chain,omitempty"`
}

// refusal is a status and what is said with it.
type refusal struct {
	status int
	problem
}

func refuse(status, code int, format string, args ...any) *refusal {
	return &refusal{status, problem{Code: code, Message: fmt.Sprintf(format, args...)}}
}

// invalid is how records are refused that are wrong by themselves.
func invalid(code int, format string, args ...any) *refusal {
	return &refusal{http.StatusBadRequest, problem{Code: 1004, Message: "DNS Validation Error",
		Chain: []problem{{Code: code, Message: fmt.Sprintf(format, args...)}}}}
}

// ServeHTTP serves the API below /client/v4/.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	fault := s.decide(r)
	r.Body = http.MaxBytesReader(w, r.Body, maxBody)
	var answer envelope
	var refused *refusal
	switch fault {
	case Cut:
		panic(http.ErrAbortHandler)
	case Garbled:
		w.WriteHeader(http.StatusBadGateway)
		fmt.Fprint(w, "<html>Bad gateway</html>")
		return
	case Unavailable:
		refused = refuse(http.StatusServiceUnavailable, 10000, "Service temporarily unavailable")
	case Throttled:
		w.Header().Set("Retry-After", "7")
		refused = refuse(http.StatusTooManyRequests, 971, "Please wait and consider throttling your request speed")
	default:
		answer, refused = s.serve(r)
	}
	if fault == Lose {
		panic(http.ErrAbortHandler)
	}
	write(w, answer, refused)
}

func write(w http.ResponseWriter, answer envelope, refused *refusal) {
	w.Header().Set("Content-Type", "application/json")
	answer.Success, answer.Errors, answer.Messages = refused == nil, []problem{}, []problem{}
	if refused != nil {
		answer.Result, answer.Info, answer.Errors = nil, nil, []problem{refused.problem}
		w.WriteHeader(refused.status)
	}
	// The client may be gone.
	_ = json.NewEncoder(w).Encode(answer)
}

// serve finds the method of a request.
func (s *Server) serve(r *http.Request) (envelope, *refusal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	access, refused := s.authorise(r)
	if refused != nil {
		return envelope{}, refused
	}
	path, ok := strings.CutPrefix(r.URL.Path, "/client/v4/zones")
	parts := strings.Split(path, "/")[1:]
	switch {
	case !ok || len(parts) > 3 || len(parts) > 1 && parts[1] != "dns_records":
		return envelope{}, refuse(http.StatusBadRequest, 7000, "No route for that URI")
	case len(parts) == 0:
		return s.listZones(r, access)
	}
	z, refused := s.zone(parts[0], r.URL.Path, access)
	if refused != nil {
		return envelope{}, refused
	}
	if r.Method != http.MethodGet && access != Edit {
		return envelope{}, refuse(http.StatusForbidden, 10000, "Authentication error")
	}
	if len(parts) == 1 {
		if r.Method != http.MethodGet {
			return envelope{}, refuse(http.StatusMethodNotAllowed, 10405, "this stand-in does not change zones")
		}
		return envelope{Result: z.zoneInfo}, nil
	}
	return s.serveRecords(z, r, parts[2:])
}

// serveRecords is what is below dns_records.
func (s *Server) serveRecords(z *zone, r *http.Request, id []string) (envelope, *refusal) {
	switch {
	case len(id) == 0 && r.Method == http.MethodGet:
		return s.listRecords(z, r)
	case len(id) == 1 && id[0] == "batch" && r.Method == http.MethodPost:
		return s.batch(z, r)
	}
	return s.single(z, r, id)
}

// authorise checks the token of a request.
func (s *Server) authorise(r *http.Request) (Access, *refusal) {
	header := r.Header.Get("Authorization")
	token, ok := strings.CutPrefix(header, "Bearer ")
	if header == "" {
		return 0, refuse(http.StatusBadRequest, 9106, "Missing X-Auth-Key, X-Auth-Email or Authorization headers")
	}
	if !ok || len(token) < 40 {
		return 0, &refusal{http.StatusBadRequest, problem{Code: 6003, Message: "Invalid request headers",
			Chain: []problem{{Code: 6111, Message: "Invalid format for Authorization header"}}}}
	}
	access, known := s.tokens[token]
	if !known {
		return 0, refuse(http.StatusForbidden, 9109, "Invalid access token")
	}
	if access == Expired {
		return 0, refuse(http.StatusUnauthorized, 1000, "Invalid API Token")
	}
	return access, nil
}

// zone finds one that the token can see.
func (s *Server) zone(id, path string, access Access) (*zone, *refusal) {
	if len(id) != 32 {
		return nil, refuse(http.StatusNotFound, 7003, "Could not route to %s, perhaps your object identifier is invalid?", path)
	}
	i := slices.IndexFunc(s.zones, func(z *zone) bool { return z.ID == id })
	if i < 0 {
		return nil, refuse(http.StatusNotFound, 1001, "Invalid zone identifier")
	}
	if access == Zoneless {
		return nil, refuse(http.StatusForbidden, 9109, "Unauthorized to access requested resource")
	}
	return s.zones[i], nil
}

func (s *Server) listZones(r *http.Request, access Access) (envelope, *refusal) {
	if r.Method != http.MethodGet {
		return envelope{}, refuse(http.StatusMethodNotAllowed, 10405, "this stand-in does not make zones")
	}
	list := []zoneInfo{}
	for _, z := range s.zones {
		if access != Zoneless {
			list = append(list, z.zoneInfo)
		}
	}
	return paged(s, r, list, 20, 50)
}

// paged cuts a list by page and per_page.
func paged[T any](s *Server, r *http.Request, list []T, usual, largest int) (envelope, *refusal) {
	page, perPage := 1, usual
	for name, value := range map[string]*int{"page": &page, "per_page": &perPage} {
		given := r.URL.Query().Get(name)
		if given == "" {
			continue
		}
		n, err := strconv.Atoi(given)
		if err != nil || n < 1 || name == "per_page" && n > largest {
			return envelope{}, refuse(http.StatusBadRequest, 1004, "Invalid value for parameter %s", name)
		}
		*value = n
	}
	if s.PageSize > 0 {
		perPage = min(perPage, s.PageSize)
	}
	total := len(list)
	from := min((page-1)*perPage, total)
	list = list[from:min(from+perPage, total)]
	return envelope{Result: list, Info: &info{Page: page, PerPage: perPage, Count: len(list), TotalCount: total,
		TotalPages: (total + perPage - 1) / perPage}}, nil
}
