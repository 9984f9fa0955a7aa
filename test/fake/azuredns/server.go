// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package azuredns

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	apiVersion = "2018-05-01"
	// pageSize is the most that one answer of a list holds.
	pageSize = 100
	maxBody  = 1 << 20
)

// Server answers for one subscription. Make one with New; the fields may be set
// before it serves. Safe for concurrent use.
type Server struct {
	// Now is the server's clock, by which tokens expire.
	Now func() time.Time
	// GoneIsFine answers 204 to a DELETE with If-Match of what is not there, where
	// otherwise it is 412. The reference allows both readings.
	GoneIsFine bool

	subscription string

	mu      sync.Mutex
	zones   []*zone
	tokens  map[string]Token
	clients map[string]Client
	inject  func(Call) *Fault
	count   map[string]int
	calls   int
	etags   int
}

// Token is what a request may be sent with.
type Token struct {
	// Expires is zero for one that lives for ever.
	Expires time.Time
	// Denied: the token is good, and allows nothing.
	Denied bool
}

// New makes a server of a subscription without zones, to which nobody has tokens.
func New(subscription string) *Server {
	return &Server{
		Now: time.Now, subscription: subscription,
		tokens: map[string]Token{}, clients: map[string]Client{}, count: map[string]int{},
	}
}

// Call is a request before it is served.
type Call struct {
	// Index counts requests from 0, those for tokens among them.
	Index int
	// Operation is as in "PUT record", "GET zones", "POST token".
	Operation string
}

// Fault is what happens to a request instead of an answer. Where Status is zero,
// the connection breaks.
type Fault struct {
	Status        int
	Code, Message string
	// RetryAfter is in seconds; none where it is zero.
	RetryAfter int
	// Late: the request is carried out before.
	Late bool
}

// Throttled is how Azure says that there are too many requests.
func Throttled(seconds int) *Fault {
	return &Fault{Status: http.StatusTooManyRequests, Code: "TooManyRequests", Message: "The request was throttled.", RetryAfter: seconds}
}

// Pending is how Azure says that it is still busy with the record set.
func Pending() *Fault {
	return &Fault{Status: http.StatusConflict, Code: "Conflict",
		Message: "Another operation is pending for requested object. Operation group '/operations/groups/id/|A|www' already has 1 operations queued."}
}

// Inject lets f decide about each request from now on; nil lets all pass.
func (s *Server) Inject(f func(Call) *Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inject = f
}

// Calls is how many requests came for an operation; of all where it is empty.
func (s *Server) Calls(operation string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if operation == "" {
		return s.calls
	}
	return s.count[operation]
}

// AddToken lets requests in that carry a token.
func (s *Server) AddToken(value string, t Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tokens[value] = t
}

// AddZone makes a zone and returns its resource id. A name can be used once in
// each resource group.
func (s *Server) AddZone(group, name string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := newZone(group, name, s.etag())
	s.zones = append(s.zones, z)
	return s.id(z)
}

// RemoveZone takes a zone away.
func (s *Server) RemoveZone(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = slices.DeleteFunc(s.zones, func(z *zone) bool { return s.id(z) == id })
}

func (s *Server) id(z *zone) string {
	return "/subscriptions/" + s.subscription + "/resourceGroups/" + z.group + "/providers/Microsoft.Network/dnszones/" + z.name
}

// etag is another one each time.
func (s *Server) etag() string {
	s.etags++
	return fmt.Sprintf("00000002-0000-0000-aaaa-%012x", s.etags)
}

// refusal is an error as Azure answers it.
type refusal struct {
	status        int
	code, message string
}

func refuse(status int, code, format string, a ...any) *refusal {
	return &refusal{status, code, fmt.Sprintf(format, a...)}
}

// request is one that was read.
type request struct {
	*http.Request
	operation string
	body      []byte
	// group, zone, kind and name are what the path says, as far as it goes. Kind
	// is a record type.
	group, zone, kind, name string
}

// ServeHTTP serves Azure Resource Manager, and the token endpoint.
func (s *Server) ServeHTTP(w http.ResponseWriter, hr *http.Request) {
	body, err := io.ReadAll(io.LimitReader(hr.Body, maxBody))
	if err != nil {
		http.Error(w, "reading the body", http.StatusBadRequest)
		return
	}
	r := &request{Request: hr, body: body}
	s.route(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	call := Call{s.calls, r.operation}
	s.calls++
	s.count[r.operation]++
	var fault *Fault
	if s.inject != nil {
		fault = s.inject(call)
	}
	status, answer := 0, any(nil)
	if fault == nil || fault.Late {
		status, answer = s.serve(r)
	}
	switch {
	case fault == nil:
	case fault.Status == 0:
		// The server closes the connection without a word.
		panic(http.ErrAbortHandler)
	default:
		if fault.RetryAfter > 0 {
			w.Header().Set("Retry-After", strconv.Itoa(fault.RetryAfter))
		}
		status, answer = fault.Status, errorBody(fault.Code, fault.Message)
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("x-ms-request-id", fmt.Sprintf("7a3d1a8e-%012x", s.calls))
	w.WriteHeader(status)
	if answer == nil {
		return
	}
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		panic(err)
	}
}

func errorBody(code, message string) any {
	return map[string]any{"error": map[string]string{"code": code, "message": message}}
}

// paths of Azure Resource Manager, of which words are compared without case.
var (
	allZones = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)/providers/Microsoft\.Network/dnszones$`)
	oneZone  = regexp.MustCompile(`(?i)^/subscriptions/([^/]+)/resourceGroups/([^/]+)/providers/Microsoft\.Network/dnszones(?:/([^/]+)(?:/([^/]+)(?:/([^/]+))?)?)?$`)
)

// route reads the path.
func (s *Server) route(r *request) {
	r.operation = "unknown"
	all, one := allZones.FindStringSubmatch(r.URL.Path), oneZone.FindStringSubmatch(r.URL.Path)
	switch {
	case strings.HasSuffix(r.URL.Path, "/oauth2/v2.0/token"):
		r.operation = r.Method + " token"
	case strings.HasSuffix(r.URL.Path, "/.well-known/openid-configuration"):
		r.operation = r.Method + " metadata"
	case all != nil && strings.EqualFold(all[1], s.subscription):
		r.operation = r.Method + " zones"
	case one != nil && strings.EqualFold(one[1], s.subscription):
		r.group, r.zone, r.kind, r.name = one[2], one[3], strings.ToUpper(one[4]), strings.ToLower(one[5])
		r.operation = r.Method + " " + r.what()
	}
}

// what is the last thing that the path names.
func (r *request) what() string {
	switch {
	case r.zone == "":
		return "zones"
	case r.kind == "":
		return "zone"
	case r.name == "":
		return "records"
	}
	return "record"
}

func (s *Server) serve(r *request) (int, any) {
	switch r.operation {
	case "GET metadata":
		return http.StatusOK, metadata(r)
	case "POST token":
		return s.token(r)
	}
	status, answer, refused := s.manage(r)
	if refused != nil {
		return refused.status, errorBody(refused.code, refused.message)
	}
	return status, answer
}

// manage serves Azure Resource Manager.
func (s *Server) manage(r *request) (int, any, *refusal) {
	if refused := s.authenticate(r); refused != nil {
		return 0, nil, refused
	}
	if v := r.URL.Query().Get("api-version"); v != apiVersion {
		return 0, nil, refuse(http.StatusBadRequest, "InvalidApiVersionParameter", "The api-version '%s' is invalid.", v)
	}
	if r.operation == "GET zones" {
		answer, refused := s.listZones(r)
		return http.StatusOK, answer, refused
	}
	z := s.zone(r)
	if z == nil {
		return 0, nil, refuse(http.StatusNotFound, "ResourceNotFound",
			"The Resource 'Microsoft.Network/dnszones/%s' under resource group '%s' was not found. For more details please go to https://aka.ms/ARMResourceNotFoundFix", r.zone, r.group)
	}
	switch r.operation {
	case "GET zone":
		return http.StatusOK, s.describe(z), nil
	case "GET records":
		answer, refused := s.listSets(z, r)
		return http.StatusOK, answer, refused
	case "GET record":
		set := z.sets[key{r.name, r.kind}]
		if set == nil {
			return 0, nil, refuse(http.StatusNotFound, "NotFound", "The resource record '%s' does not exist in resource group '%s' of subscription '%s'.", r.name, r.group, s.subscription)
		}
		return http.StatusOK, set, nil
	case "PUT record":
		return s.putSet(z, r)
	case "DELETE record":
		return s.deleteSet(z, r)
	}
	return 0, nil, refuse(http.StatusMethodNotAllowed, "MethodNotAllowed", "There is no operation %s %s", r.Method, r.URL.Path)
}

func (s *Server) authenticate(r *request) *refusal {
	value, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return refuse(http.StatusUnauthorized, "AuthenticationFailed", "Authentication failed. The 'Authorization' header is missing.")
	}
	t, known := s.tokens[value]
	switch {
	case !known:
		return refuse(http.StatusUnauthorized, "InvalidAuthenticationToken", "The access token is invalid.")
	case !t.Expires.IsZero() && s.Now().After(t.Expires):
		return refuse(http.StatusUnauthorized, "ExpiredAuthenticationToken", "The access token expiry UTC time '%s' is earlier than current UTC time '%s'.", t.Expires.UTC(), s.Now().UTC())
	case t.Denied:
		return refuse(http.StatusForbidden, "AuthorizationFailed", "The client 'dns' does not have authorization to perform action 'Microsoft.Network/dnsZones/read' over scope '%s' or the scope is invalid.", r.URL.Path)
	}
	return nil
}

func (s *Server) zone(r *request) *zone {
	for _, z := range s.zones {
		if strings.EqualFold(z.group, r.group) && strings.EqualFold(z.name, r.zone) {
			return z
		}
	}
	return nil
}

// page cuts a list into pages. The continuation is opaque to clients.
func page[T any](r *request, all []T) (any, *refusal) {
	q := r.URL.Query()
	size := pageSize
	if top := q.Get("$top"); top != "" {
		n, err := strconv.Atoi(top)
		if err != nil || n < 1 || n > pageSize {
			return nil, refuse(http.StatusBadRequest, "BadRequest", "The value '%s' of $top is not between 1 and %d.", top, pageSize)
		}
		size = n
	}
	from := 0
	if skip := q.Get("$skipToken"); skip != "" {
		n, err := strconv.ParseInt(skip, 36, 32)
		if err != nil || n < 0 || int(n) > len(all) {
			return nil, refuse(http.StatusBadRequest, "BadRequest", "The continuation token is not valid.")
		}
		from = int(n)
	}
	to := min(from+size, len(all))
	out := map[string]any{"value": slices.Clip(append([]T{}, all[from:to]...))}
	if to < len(all) {
		q.Set("$skipToken", strconv.FormatInt(int64(to), 36))
		out["nextLink"] = "https://" + r.Host + r.URL.Path + "?" + q.Encode()
	}
	return out, nil
}
