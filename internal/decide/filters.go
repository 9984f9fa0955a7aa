// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"crypto/sha256"
	"fmt"
	"strings"
	"sync"

	udpatypev1 "github.com/cncf/xds/go/udpa/type/v1"
	xdstypev3 "github.com/cncf/xds/go/xds/type/v3"
	corsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/cors/v3"
	authzv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	faultv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	jwtv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/jwt_authn/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/decide/match"
	"github.com/trellis-mesh/trellis/internal/decide/rbac"
	"github.com/trellis-mesh/trellis/internal/decide/route"
	"github.com/trellis-mesh/trellis/internal/decide/stream"
	"github.com/trellis-mesh/trellis/internal/xds"
)

// httpFilter is one HTTP filter, compiled.
type httpFilter struct {
	name string
	// disabled filters run only where a route enables them.
	disabled bool
	// run does the filter's work; nil in place of a Verdict lets the request go
	// on, nil in place of run has no effect.
	run func(*exchange) *Verdict
	// override compiles what a route says in place of the filter's configuration;
	// nil: this filter takes none, or reads the route itself.
	override func(*anypb.Any) (func(*exchange) *Verdict, error)
	// overridden remembers what routes say.
	overridden *overridden
	// unknown says why what it does is not known.
	unknown string
}

// overridden are the filters of routes by what these say.
type overridden struct {
	mu   sync.Mutex
	runs map[*anypb.Any]func(*exchange) *Verdict
}

// runOf is what the filter does where a route says something of it.
func (f *httpFilter) runOf(config *anypb.Any) (func(*exchange) *Verdict, error) {
	f.overridden.mu.Lock()
	defer f.overridden.mu.Unlock()
	run, ok := f.overridden.runs[config]
	if ok {
		return run, nil
	}
	run, err := f.override(config)
	if err == nil {
		f.overridden.runs[config] = run
	}
	return run, err
}

// forRoute is the filter as the route wants it; nil where it does not run.
func (f *httpFilter) forRoute(c *route.Case) (*httpFilter, string) {
	overrides, err := c.Overrides(f.name)
	if err != nil {
		return nil, fmt.Sprintf("what a route says of HTTP filter %s cannot be read: %v", f.name, err)
	}
	if len(overrides) == 0 {
		if f.disabled {
			return nil, ""
		}
		return f, ""
	}
	first := overrides[0]
	if first.Disabled {
		return nil, ""
	}
	if first.Config == nil || f.override == nil {
		return f, ""
	}
	out := *f
	if out.run, err = f.runOf(first.Config); err != nil {
		return nil, fmt.Sprintf("what a route says of HTTP filter %s cannot be read: %v", f.name, err)
	}
	return &out, ""
}

// transparent are the HTTP filters of Istio's proxies that never refuse a request
// nor change what is decided here, by a part of their type, with the reason.
var transparent = map[string]string{
	"stats.PluginConfig":            "counts",
	"io.istio.http.peer_metadata":   "notes who the peer says it is",
	".metadataexchange.v1alpha1.":   "notes who the peer says it is",
	".http.alpn.v2alpha1.":          "sets application protocols towards upstream, see connectionManager.alpn",
	".filters.http.grpc_stats.":     "counts",
	".filters.http.grpc_web.":       "translates the body",
	".filters.http.compressor.":     "changes the response",
	".filters.http.decompressor.":   "changes the body",
	".filters.http.bandwidth_limit": "delays",
	".filters.http.tap.":            "copies",
	".filters.http.upstream_codec.": "belongs to the upstream",
}

// effectiveType is the type of a configuration, also of one that is written as a
// struct with its type beside it.
func effectiveType(config *anypb.Any) string {
	if wrapped := (&xdstypev3.TypedStruct{}); config.MessageIs(wrapped) && config.UnmarshalTo(wrapped) == nil {
		return wrapped.GetTypeUrl()
	}
	// The older form, which Istio writes.
	if wrapped := (&udpatypev1.TypedStruct{}); config.MessageIs(wrapped) && config.UnmarshalTo(wrapped) == nil {
		return wrapped.GetTypeUrl()
	}
	return config.GetTypeUrl()
}

// httpFilters are the compiled ones of a proxy: by name and type, and by the bytes of
// their configuration, by a digest of them. Each chain of a gateway has the same rules.
type httpFilters map[filterKey]compiledFilter

type filterKey struct {
	name, kind string
	optional   bool
	digest     [sha256.Size]byte
}

type compiledFilter struct {
	filter httpFilter
	err    error
}

func (p *proxy) compileHTTPFilter(f *hcmv3.HttpFilter) (httpFilter, error) {
	config := f.GetTypedConfig()
	if discovery := f.GetConfigDiscovery(); discovery != nil {
		config = discovery.GetDefaultConfig()
		if extension, ok := p.config.Extension(f.GetName()); ok {
			config = extension.GetTypedConfig()
		}
		if config == nil {
			return httpFilter{name: f.GetName()}, fmt.Errorf("its configuration comes apart and is not known")
		}
	}
	key := filterKey{f.GetName(), config.GetTypeUrl(), f.GetIsOptional(), sha256.Sum256(config.GetValue())}
	known, ok := p.filters[key]
	if !ok {
		known.filter, known.err = p.newHTTPFilter(f, config)
		p.filters[key] = known
	}
	return known.filter, known.err
}

func (p *proxy) newHTTPFilter(f *hcmv3.HttpFilter, config *anypb.Any) (httpFilter, error) {
	out := httpFilter{name: f.GetName(), overridden: &overridden{runs: map[*anypb.Any]func(*exchange) *Verdict{}}}
	kind := effectiveType(config)
	for part := range transparent {
		if strings.Contains(kind, part) {
			return out, nil
		}
	}
	var err error
	switch {
	case config.MessageIs((*routerv3.Router)(nil)):
	case config.MessageIs((*httprbacv3.RBAC)(nil)):
		err = out.compileRBAC(p.config, config)
	case config.MessageIs((*jwtv3.JwtAuthentication)(nil)):
		err = out.compileJWT(config)
	case config.MessageIs((*corsv3.Cors)(nil)):
		out.run = cors
	case config.MessageIs((*authzv3.ExtAuthz)(nil)):
		err = out.compileAuthorizer(config)
	case config.MessageIs((*faultv3.HTTPFault)(nil)):
		err = out.compileFault(config)
	case f.GetIsOptional() && kind == "":
	default:
		err = fmt.Errorf("its type %s is not one that is known here", kind)
	}
	return out, err
}

func (f *httpFilter) compileRBAC(all *xds.Config, config *anypb.Any) error {
	m, err := xds.Unpack[httprbacv3.RBAC](all, config)
	if err != nil {
		return err
	}
	filter, err := rbac.NewHTTP(m)
	if err != nil {
		return err
	}
	f.run = authorize(filter)
	f.override = func(config *anypb.Any) (func(*exchange) *Verdict, error) {
		m := &httprbacv3.RBACPerRoute{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, err
		}
		own, err := rbac.NewHTTPRoute(m)
		if err != nil {
			return nil, err
		}
		return authorize(filter.ForRoute(own)), nil
	}
	return nil
}

func authorize(filter *rbac.Filter) func(*exchange) *Verdict {
	return func(x *exchange) *Verdict {
		verdict := filter.Decide(x.s)
		switch verdict.Outcome() {
		case rbac.Unknown:
			return x.unknown("%s", verdict.Why())
		case rbac.Denied:
			x.walk.add(policyStep(x.p, verdict, "refuses the request"))
			return x.end(Verdict{Outcome: Deny, Reply: &stream.Reply{
				Code: rbac.DeniedStatus, Details: verdict.Details(), Body: rbac.DeniedBody,
			}})
		case rbac.Allowed:
			x.walk.notice(x.p, verdict)
		}
		return nil
	}
}

func (x *exchange) unknown(format string, arguments ...any) *Verdict {
	v := x.walk.unknown(x.p.name, format, arguments...)
	return &v
}

func (x *exchange) end(v Verdict) *Verdict {
	out := x.walk.end(v)
	return &out
}

func cors(x *exchange) *Verdict {
	if x.at.Unknown != "" {
		return x.unknown("%s", x.at.Unknown)
	}
	reply, why := x.at.CORS(x.s)
	switch {
	case why != "":
		return x.unknown("%s", why)
	case reply == nil:
		return nil
	}
	x.walk.add(Step{Proxy: x.p.name, Stage: StageFilter, Rule: "envoy.filters.http.cors", Says: "answers the preflight", Stops: true})
	return x.end(Verdict{Outcome: Answered, Reply: reply})
}

// compileAuthorizer is external authorization: action CUSTOM. It asks only where
// the shadow rules of the RBAC filter before it have matched
// (pilot/pkg/security/authz/builder/extauthz.go).
func (f *httpFilter) compileAuthorizer(config *anypb.Any) error {
	m := &authzv3.ExtAuthz{}
	if err := config.UnmarshalTo(m); err != nil {
		return err
	}
	var enabled *match.Metadata
	if matcher := m.GetFilterEnabledMetadata(); matcher != nil {
		var err error
		if enabled, err = match.NewMetadata(matcher); err != nil {
			return err
		}
	}
	service := m.GetGrpcService().GetEnvoyGrpc().GetClusterName()
	if service == "" {
		service = m.GetHttpService().GetServerUri().GetCluster()
	}
	if fraction := m.GetFilterEnabled(); fraction != nil && !always(fraction.GetDefaultValue()) {
		return fmt.Errorf("it is asked for a part of the requests only")
	}
	f.run = func(x *exchange) *Verdict {
		if enabled != nil {
			switch asked := enabled.Match(&x.s.Metadata); asked.Truth {
			case match.False:
				return nil
			case match.Unknown:
				return x.unknown("%s", asked.Why)
			case match.True:
			}
		}
		allowed, told := x.walk.q.Authorizers[service]
		if !told {
			return x.unknown("the external authorization service %s decides", service)
		}
		if allowed {
			x.walk.add(Step{Proxy: x.p.name, Stage: StageFilter, Rule: service, Says: "the external authorization service allows it, as it was said"})
			return nil
		}
		x.walk.add(Step{Proxy: x.p.name, Stage: StageFilter, Rule: service, Says: "the external authorization service refuses it, as it was said", Stops: true})
		return x.end(Verdict{Outcome: Deny, Reply: &stream.Reply{Code: 403, Details: "ext_authz_denied", Flags: []string{"UAEX"}}})
	}
	return nil
}

// percent is how many of a hundred a fraction is.
func percent(p *typev3.FractionalPercent) float64 {
	switch p.GetDenominator() {
	case typev3.FractionalPercent_TEN_THOUSAND:
		return float64(p.GetNumerator()) / 100
	case typev3.FractionalPercent_MILLION:
		return float64(p.GetNumerator()) / 10000
	case typev3.FractionalPercent_HUNDRED:
	}
	return float64(p.GetNumerator())
}

func always(p *typev3.FractionalPercent) bool { return percent(p) >= 100 }

// compileFault is fault injection: delays change nothing that is decided here.
func (f *httpFilter) compileFault(config *anypb.Any) error {
	compile := func(config *anypb.Any) (func(*exchange) *Verdict, error) {
		m := &faultv3.HTTPFault{}
		if err := config.UnmarshalTo(m); err != nil {
			return nil, err
		}
		return inject(m), nil
	}
	f.override = compile
	var err error
	f.run, err = compile(config)
	return err
}

func inject(m *faultv3.HTTPFault) func(*exchange) *Verdict {
	abort := m.GetAbort()
	share := percent(abort.GetPercentage()) / 100
	if abort == nil || share == 0 && abort.GetPercentage() != nil {
		return nil
	}
	return func(x *exchange) *Verdict {
		if len(m.GetHeaders()) > 0 || m.GetUpstreamCluster() != "" || len(m.GetDownstreamNodes()) > 0 || abort.GetHttpStatus() == 0 {
			return x.unknown("a fault is injected into a part of the requests")
		}
		if abort.GetPercentage() != nil && share < 1 {
			x.share = share
		}
		own := x.walk.fork()
		own.add(Step{Proxy: x.p.name, Stage: StageFilter, Rule: "envoy.filters.http.fault", Says: "injects a fault", Stops: true})
		v := own.end(Verdict{Outcome: Fails, Why: "a fault is injected", Reply: &stream.Reply{
			Code: int(abort.GetHttpStatus()), Details: "fault_filter_abort", Flags: []string{"FI"}, Body: "fault filter abort",
		}})
		return &v
	}
}
