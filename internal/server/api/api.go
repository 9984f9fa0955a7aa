// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package api answers questions over HTTP, to everybody at their own layer: the same JSON
// as the command line's, for who a token of the cluster says that asks, and without what
// they may not read. It changes nothing.
package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"k8s.io/utils/clock"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/ask/outgoing"
	"github.com/trellis-mesh/trellis/internal/attribution"
	"github.com/trellis-mesh/trellis/internal/hits"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/server/picture"
	"github.com/trellis-mesh/trellis/internal/server/sight"
	"github.com/trellis-mesh/trellis/internal/server/viewer"
	"github.com/trellis-mesh/trellis/internal/verdict"
)

// Prefix is where the paths of the API begin.
const Prefix = "/api/v1/"

const (
	// MaxDraft is how many bytes a draft may have, and maxBody any other body.
	MaxDraft, maxBody = 1 << 20, 64 << 10
	// patience is how long a question may take. What it has begun ends by itself, and holds
	// its place until then.
	patience = 20 * time.Second
	// maxAsked and maxAskedOwn bound how many questions are open at the same time, each with
	// its body: of all viewers, and of one.
	maxAsked, maxAskedOwn = 128, 32
)

// Mesh is what is asked where it matters what proxies are sent.
type Mesh struct {
	*ask.World
	Picture *picture.Picture
	// Checker compares what clients send with what services take.
	Checker func() *mtls.Checker
	// Missing says what an answer is without, and From where the configuration comes from.
	Missing []string
	From    string
}

// Cluster is what answers are about. All methods are safe for concurrent use, and errors
// that are Problems are told to whoever asks.
type Cluster interface {
	// Picture is the cluster as it is now.
	Picture(ctx context.Context) (*picture.Picture, error)
	// Judged is Picture, with what policies assert of the configuration of proxies told.
	Judged(ctx context.Context) (*picture.Picture, error)
	// Ask has a function ask what proxies are sent; the Mesh is not to be kept.
	Ask(ctx context.Context, question func(*Mesh) error) error
	// Compare is what a draft over the cluster makes different. Namespaces in which the
	// draft may have objects are those for which within is true.
	Compare(ctx context.Context, draft []byte, within func(namespace string) bool) (*outgoing.Changes, error)
	// Doors are the objects that make hosts reachable and that tests do not depend on.
	Doors(ctx context.Context) (*Outside, error)
	// Follow makes a channel that receives revisions; the caller ends it.
	Follow() (revisions <-chan string, end func())
}

// Config is what an API works with. All of it is required, but what says so.
type Config struct {
	Gate    *viewer.Gate
	Cluster Cluster
	// Store and Index know what was counted; nil: nobody counts. Counted receives after
	// something was; nil: it is not told.
	Store   hits.Store
	Index   func() *attribution.Index
	Counted func() (counted <-chan struct{}, end func())
	// Samples are examples of what was counted; nil: there are none.
	Samples *hits.Samples
	// Lost is how many entries of access logs there was no room for since this process began,
	// and when the last ones came; nil: it is not known.
	Lost func() (n int64, last time.Time)
	// Verdicts are what came of the tests of Applications; nil: it is not known.
	Verdicts func() []verdict.Application
	// Console are the files of the console; nil: a page that says that there is none.
	Console fs.FS
	// Repository makes the address of a file in Git of its path, which takes the place of
	// {path}; empty: there is none.
	Repository string
	Version    string
	Clock      clock.Clock
	Log        *slog.Logger
}

// API is the handler of the whole address: questions below Prefix, and the console.
type API struct {
	config  Config
	mux     *http.ServeMux
	spec    []byte
	streams seats
	asked   seats
	numbers numbers
}

// New makes an API. An error is a fault of the program.
func New(config Config) (*API, error) {
	a := &API{config: config, mux: http.NewServeMux(), streams: seats{most: maxStreams, own: maxOwn}, asked: seats{most: maxAsked, own: maxAskedOwn}}
	spec, err := describe(a.endpoints(), config.Version)
	if err != nil {
		return nil, err
	}
	a.spec = spec
	for _, e := range a.endpoints() {
		a.mux.Handle(e.method+" "+Prefix+e.path, a.guarded(func(c *call) error { return a.answer(c, &e) }))
	}
	a.mux.Handle("GET "+Prefix+"events", a.guarded(a.events))
	a.mux.Handle("/api/", a.guarded(a.unknown))
	a.mux.Handle("/", console(config.Console))
	return a, nil
}

// ServeHTTP implements http.Handler.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		if p := recover(); p != nil {
			if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
				panic(p)
			}
			a.config.Log.Error("a question made the server panic", "path", r.URL.Path, "panic", p)
			problem(http.StatusInternalServerError, "the question could not be answered", "the log of trellis-server says why").write(w)
		}
	}()
	secure(w.Header())
	a.mux.ServeHTTP(w, r)
}

// call is one question.
type call struct {
	w      http.ResponseWriter
	r      *http.Request
	viewer *viewer.Viewer
	// picture and sight are set by look.
	picture *picture.Picture
	sight   *sight.Sight
}

// guarded lets a handler answer those whose token is good. There is nobody without one.
func (a *API) guarded(serve func(*call) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "no-store")
		v, err := a.whose(r)
		if err == nil {
			err = serve(&call{w: w, r: r, viewer: v})
		}
		if err == nil {
			return
		}
		p, told := problemOf(err)
		if !told && r.Context().Err() == nil {
			a.config.Log.Error("a question could not be answered", "path", r.URL.Path, "error", err)
		}
		p.write(w)
	})
}

// whose is who asks.
func (a *API) whose(r *http.Request) (*viewer.Viewer, error) {
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") || token == "" {
		return nil, problem(http.StatusUnauthorized, "a token of the cluster is needed, as Authorization: Bearer TOKEN", "use trellis console, which adds yours, or kubectl create token")
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	v, err := a.config.Gate.Whose(ctx, token)
	if err != nil {
		a.config.Log.Warn("a token cannot be reviewed", "error", err)
		return nil, Busy("the API server does not say whose the token is", 2*time.Second)
	}
	if v == nil {
		return nil, problem(http.StatusUnauthorized, "the API server does not know the token: it has expired, or is for another audience or cluster", "use a new one")
	}
	return v, nil
}

// look takes the picture, and finds out what the viewer may see of it. Judged: with what
// policies assert.
func (a *API) look(ctx context.Context, c *call, judged bool) (err error) {
	take := a.config.Cluster.Picture
	if judged {
		take = a.config.Cluster.Judged
	}
	if c.picture, err = take(ctx); err != nil {
		return err
	}
	if c.sight, err = a.config.Gate.Sight(ctx, c.viewer, c.places()); err != nil {
		a.config.Log.Warn("rights cannot be reviewed", "error", err)
		return Busy("the API server does not say what you may read", 2*time.Second)
	}
	return nil
}

// places are where something is that a right is needed for.
func (c *call) places() viewer.Places {
	applications, ingresses := c.picture.Namespaces()
	return viewer.Places{Applications: applications, Ingresses: ingresses}
}

// answer answers by an endpoint, within its time.
func (a *API) answer(c *call, e *endpoint) error {
	ctx, cancel := context.WithTimeout(c.r.Context(), patience)
	defer cancel()
	if err := e.known(c.r.URL.Query()); err != nil {
		return err
	}
	if !a.asked.enter(c.viewer.Name) {
		return Busy(fmt.Sprintf("more than %d questions of yours, or %d of all, are open already", maxAskedOwn, maxAsked), 2*time.Second)
	}
	defer a.asked.leave(c.viewer.Name)
	if !e.free {
		if err := a.look(ctx, c, e.judged); err != nil {
			return err
		}
	}
	out, err := e.serve(ctx, c)
	if err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return Busy("the answer takes longer than "+patience.String(), 5*time.Second)
		}
		return err
	}
	raw, ok := out.([]byte)
	if !ok {
		var b bytes.Buffer
		encoder := json.NewEncoder(&b)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		if err := encoder.Encode(out); err != nil {
			return err
		}
		raw = b.Bytes()
	}
	c.w.Header().Set("Content-Type", "application/json")
	_, _ = c.w.Write(raw) // whoever does not read it has gone
	return nil
}

// unknown says what is wrong with a path below /api/.
func (a *API) unknown(c *call) error {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := c.r.Clone(c.r.Context())
		other.Method = method
		if _, pattern := a.mux.Handler(other); pattern != "/api/" {
			allowed = append(allowed, method)
		}
	}
	if len(allowed) == 0 {
		return problem(http.StatusNotFound, "there is no "+c.r.URL.Path, Prefix+"openapi.json says what there is")
	}
	p := problem(http.StatusMethodNotAllowed, c.r.URL.Path+" takes no "+c.r.Method, "use "+strings.Join(allowed, " or "))
	p.allow = strings.Join(allowed, ", ")
	return p
}

// body reads JSON of a question, all of whose fields are known.
func (c *call) body(into any) error {
	decoder := json.NewDecoder(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(into)
	if err == nil {
		if _, more := decoder.Token(); more != io.EOF {
			err = errors.New("there is something after it")
		}
	}
	var large *http.MaxBytesError
	if err == nil || errors.As(err, &large) {
		return err
	}
	return Invalid(errors.New("reading the body: "+err.Error()), "send one JSON object as "+Prefix+"openapi.json describes it")
}

// application finds one that the viewer may see. To whoever may not, there is none.
func (c *call) application() (namespace, name string, err error) {
	namespace, name = c.r.PathValue("namespace"), c.r.PathValue("name")
	if !c.sight.Namespace(namespace) || c.picture.Application(namespace, name) == nil {
		return "", "", problem(http.StatusNotFound, "there is no Application "+namespace+"/"+name+" that you may see", Prefix+"applications lists those that you may")
	}
	return namespace, name, nil
}

// envelope answers what an Application is still free to choose.
func (a *API) envelope(_ context.Context, c *call) (any, error) {
	namespace, name, err := c.application()
	if err != nil {
		return nil, err
	}
	// One that is not in force yet is bounded, too.
	return answer.EnvelopeOf(c.picture.Posture(), c.picture.Snapshot, c.picture.State.Input.Applications, name, namespace)
}
