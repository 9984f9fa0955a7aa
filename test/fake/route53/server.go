// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package route53

import (
	"cmp"
	"encoding/xml"
	"fmt"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

const (
	version   = "/2013-04-01/"
	namespace = "https://route53.amazonaws.com/doc/2013-04-01/"
	maxBody   = 1 << 20
	// maxZones is how many hosted zones one answer holds, maxSets how many record
	// sets.
	maxZones = 100
	maxSets  = 300
)

// Server answers for one AWS account. Make one with New; the fields may be set
// before it serves. Safe for concurrent use.
type Server struct {
	// Now is the server's clock: signatures more than five minutes away from it are
	// refused, and credentials expire by it.
	Now func() time.Time
	// Polls is how often GetChange says PENDING before it says INSYNC.
	Polls int
	// OldErrors makes a refused batch answer in the older form, with an element for
	// each message. The service has used both.
	OldErrors bool
	// EscapedOrder sorts a star as the escape \052 that it is written as. The
	// reference leaves that open.
	EscapedOrder bool

	mu      sync.Mutex
	zones   []*zone
	changes map[string]*submitted
	keys    map[string]Key
	roles   map[string]Role
	inject  func(Call) *Fault
	count   map[string]int
	calls   int
}

// submitted is a change that was accepted.
type submitted struct {
	at    time.Time
	asked int
}

// New makes a server without zones, to which nobody has credentials.
func New() *Server {
	return &Server{
		Now: time.Now, changes: map[string]*submitted{}, keys: map[string]Key{}, roles: map[string]Role{},
		count: map[string]int{},
	}
}

// Call is a request before it is served.
type Call struct {
	// Index counts requests from 0.
	Index int
	// Operation is its name in the API reference.
	Operation string
}

// Fault is what happens to a request instead of an answer. Where Code is empty,
// the connection breaks.
type Fault struct {
	Status        int
	Code, Message string
	// Late: the request is carried out before.
	Late bool
}

// Throttled is how the service says that there are too many requests.
func Throttled() *Fault {
	return &Fault{Status: http.StatusBadRequest, Code: "Throttling", Message: "Rate exceeded"}
}

// PriorRequestNotComplete is how the service says that it is still busy with the
// zone.
func PriorRequestNotComplete() *Fault {
	return &Fault{Status: http.StatusBadRequest, Code: "PriorRequestNotComplete",
		Message: "The request was rejected because Route 53 was still processing a prior request."}
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

// AddZone makes a hosted zone and returns its id. The service allows several of
// one name.
func (s *Server) AddZone(name string, private bool) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	z := newZone(fmt.Sprintf("Z%014d", len(s.zones)+1), strings.TrimSuffix(name, ".")+".", private)
	s.zones = append(s.zones, z)
	return z.id
}

// RemoveZone takes a hosted zone away.
func (s *Server) RemoveZone(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = slices.DeleteFunc(s.zones, func(z *zone) bool { return z.id == id })
}

// refusal is an error as the service answers it.
type refusal struct {
	status        int
	code, message string
	// messages are those of a refused batch.
	messages []string
}

func refuse(code, format string, a ...any) *refusal {
	return &refusal{status: http.StatusBadRequest, code: code, message: fmt.Sprintf(format, a...)}
}

// ServeHTTP serves the REST API, and STS at the root.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := readAll(r)
	if err != nil {
		http.Error(w, "the body is too large", http.StatusRequestEntityTooLarge)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	operation := operationOf(r, body)
	call := Call{Index: s.calls, Operation: operation}
	s.calls++
	s.count[operation]++
	var fault *Fault
	if s.inject != nil {
		fault = s.inject(call)
	}
	if fault != nil && !fault.Late {
		s.fail(w, fault)
		return
	}
	answer, refused := s.serve(operation, r, body)
	switch {
	case fault != nil:
		s.fail(w, fault)
	case refused != nil:
		s.writeRefusal(w, refused)
	default:
		s.write(w, http.StatusOK, answer)
	}
}

func (s *Server) fail(w http.ResponseWriter, f *Fault) {
	if f.Code == "" {
		// The server closes the connection without a word.
		panic(http.ErrAbortHandler)
	}
	s.writeRefusal(w, &refusal{status: f.Status, code: f.Code, message: f.Message})
}

// operations are found by method and path.
var operations = []struct {
	method    string
	path      *regexp.Regexp
	operation string
}{
	{http.MethodGet, regexp.MustCompile(`^hostedzone$`), "ListHostedZones"},
	{http.MethodGet, regexp.MustCompile(`^hostedzone/[^/]+/rrset$`), "ListResourceRecordSets"},
	{http.MethodPost, regexp.MustCompile(`^hostedzone/[^/]+/rrset/?$`), "ChangeResourceRecordSets"},
	{http.MethodGet, regexp.MustCompile(`^change/[^/]+$`), "GetChange"},
}

func operationOf(r *http.Request, body []byte) string {
	path, ok := strings.CutPrefix(r.URL.Path, version)
	if !ok {
		return stsOperation(body)
	}
	for _, o := range operations {
		if o.method == r.Method && o.path.MatchString(path) {
			return o.operation
		}
	}
	return "unknown"
}

func (s *Server) serve(operation string, r *http.Request, body []byte) (any, *refusal) {
	switch operation {
	case "AssumeRoleWithWebIdentity":
		return s.assumeWithToken(body)
	case "AssumeRole":
		if refused := s.authenticate(r, body, "sts"); refused != nil {
			return nil, refused
		}
		return s.assume(body)
	}
	if refused := s.authenticate(r, body, "route53"); refused != nil {
		return nil, refused
	}
	switch operation {
	case "ListHostedZones":
		return s.listZones(r)
	case "GetChange":
		return s.getChange(last(r.URL.Path))
	case "unknown":
		return nil, &refusal{status: http.StatusNotFound, code: "InvalidAction", message: "there is no such operation: " + r.Method + " " + r.URL.Path}
	}
	z := s.zone(strings.Split(strings.TrimPrefix(r.URL.Path, version), "/")[1])
	if z == nil {
		return nil, &refusal{status: http.StatusNotFound, code: "NoSuchHostedZone", message: "No hosted zone found with ID: " + r.URL.Path}
	}
	if operation == "ListResourceRecordSets" {
		return s.listSets(z, r)
	}
	return s.changeSets(z, body)
}

func last(path string) string { return path[strings.LastIndexByte(path, '/')+1:] }

func (s *Server) zone(id string) *zone {
	i := slices.IndexFunc(s.zones, func(z *zone) bool { return z.id == id })
	if i < 0 {
		return nil
	}
	return s.zones[i]
}

type hostedZone struct {
	ID              string `xml:"Id"`
	Name            string
	CallerReference string
	PrivateZone     bool `xml:"Config>PrivateZone"`
	Count           int  `xml:"ResourceRecordSetCount"`
}

type listHostedZonesResponse struct {
	XMLName     xml.Name     `xml:"https://route53.amazonaws.com/doc/2013-04-01/ ListHostedZonesResponse"`
	HostedZones []hostedZone `xml:"HostedZones>HostedZone"`
	Marker      string       `xml:",omitempty"`
	IsTruncated bool
	NextMarker  string `xml:",omitempty"`
	MaxItems    int
}

func (s *Server) listZones(r *http.Request) (any, *refusal) {
	limit, refused := maxItems(r, maxZones)
	if refused != nil {
		return nil, refused
	}
	out := listHostedZonesResponse{MaxItems: limit, Marker: r.URL.Query().Get("marker")}
	for _, z := range s.zones {
		switch {
		case z.id < out.Marker:
			continue
		case len(out.HostedZones) == limit:
			out.IsTruncated, out.NextMarker = true, z.id
			return out, nil
		}
		out.HostedZones = append(out.HostedZones, hostedZone{"/hostedzone/" + z.id, z.name, z.id, z.private, len(z.sets)})
	}
	return out, nil
}

func maxItems(r *http.Request, most int) (int, *refusal) {
	text := r.URL.Query().Get("maxitems")
	n, err := strconv.Atoi(cmp.Or(text, strconv.Itoa(most)))
	if err != nil || n < 1 {
		return 0, refuse("InvalidInput", "Invalid maxitems: %q", text)
	}
	return min(n, most), nil
}

type changeInfo struct {
	XMLName     xml.Name
	ID          string `xml:"ChangeInfo>Id"`
	Status      string `xml:"ChangeInfo>Status"`
	SubmittedAt string `xml:"ChangeInfo>SubmittedAt"`
}

func (s *Server) getChange(id string) (any, *refusal) {
	c := s.changes[id]
	if c == nil {
		return nil, &refusal{status: http.StatusNotFound, code: "NoSuchChange", message: "A change with the ID does not exist: " + id}
	}
	c.asked++
	return s.info("GetChangeResponse", id, c), nil
}

func (s *Server) info(element, id string, c *submitted) changeInfo {
	status := "PENDING"
	if c.asked > s.Polls {
		status = "INSYNC"
	}
	return changeInfo{xml.Name{Space: namespace, Local: element}, "/change/" + id, status, c.at.UTC().Format(time.RFC3339)}
}

type errorResponse struct {
	XMLName   xml.Name
	Type      string `xml:"Error>Type"`
	Code      string `xml:"Error>Code"`
	Message   string `xml:"Error>Message"`
	RequestID string `xml:"RequestId"`
}

type invalidChangeBatch struct {
	XMLName   xml.Name `xml:"https://route53.amazonaws.com/doc/2013-04-01/ InvalidChangeBatch"`
	Messages  []string `xml:"Messages>Message"`
	RequestID string   `xml:"RequestId"`
}

func (s *Server) writeRefusal(w http.ResponseWriter, r *refusal) {
	if s.OldErrors && r.messages != nil {
		s.write(w, r.status, invalidChangeBatch{Messages: r.messages, RequestID: s.requestID()})
		return
	}
	s.write(w, r.status, errorResponse{xml.Name{Space: namespace, Local: "ErrorResponse"}, "Sender", r.code, r.message, s.requestID()})
}

// requestID is another one each time, as the service's are.
func (s *Server) requestID() string { return fmt.Sprintf("b25f48e8-84fd-11e6-80d9-%012x", s.calls) }

func (s *Server) write(w http.ResponseWriter, status int, answer any) {
	text, err := xml.Marshal(answer)
	if err != nil {
		panic(err)
	}
	w.Header().Set("Content-Type", "text/xml")
	w.Header().Set("X-Amzn-RequestId", s.requestID())
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s%s", xml.Header, text)
}
