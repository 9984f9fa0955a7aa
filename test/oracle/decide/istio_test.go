// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package decide

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	// What the builder makes beside RBAC, so that it can be read and left out.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/ext_authz/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/envoy"
)

// istioConfigs are what Istio's authorization builder makes in its own tests, read
// where the module is.
func istioConfigs(t *testing.T, kind string) map[string][]byte {
	t.Helper()
	dir, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "istio.io/istio").Output()
	if err != nil {
		t.Fatalf("finding Istio's module: %v", err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(dir)), "pilot/pkg/security/authz/builder/testdata", kind, "*-out*.yaml"))
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the outputs of Istio's builder: %d files, %v", len(files), err)
	}
	out := map[string][]byte{}
	for _, f := range files {
		content, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if out[filepath.Base(f)], err = yaml.YAMLToJSON(content); err != nil {
			t.Fatalf("%s: %v", f, err)
		}
	}
	return out
}

// here moves the addresses and ports of a configuration to where the test is, so
// that rules can match: all of them are those of the loopback interface.
func here(m proto.Message) {
	visitAll(m.ProtoReflect(), func(m protoreflect.Message) {
		switch name := m.Descriptor().FullName(); name {
		case "envoy.config.core.v3.CidrRange":
			m.Set(m.Descriptor().Fields().ByName("address_prefix"), protoreflect.ValueOfString("127.0.0.1"))
		case "envoy.config.rbac.v3.Permission":
			if port := m.Descriptor().Fields().ByName("destination_port"); m.Has(port) {
				m.Set(m.Descriptor().Fields().ByName("any"), protoreflect.ValueOfBool(true))
			}
		}
	})
}

// words are the texts that a configuration compares with, by what compares: the
// headers by name, and paths.
func words(m proto.Message) map[string][]string {
	out := map[string][]string{}
	visitAll(m.ProtoReflect(), func(m protoreflect.Message) {
		fields := m.Descriptor().Fields()
		at := ""
		switch m.Descriptor().FullName() {
		case "envoy.config.route.v3.HeaderMatcher":
			at = m.Get(fields.ByName("name")).String()
		case "envoy.type.matcher.v3.PathMatcher":
			at = ":path"
		case "envoy.config.rbac.v3.Principal.Authenticated":
			at = "principal"
		default:
			return
		}
		visitAll(m, func(m protoreflect.Message) {
			if m.Descriptor().FullName() != "envoy.type.matcher.v3.StringMatcher" {
				return
			}
			m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
				if f.Kind() == protoreflect.StringKind {
					out[at] = append(out[at], v.String())
				}
				return true
			})
		})
	})
	return out
}

// visitAll visits a message and all in it.
func visitAll(m protoreflect.Message, visit func(protoreflect.Message)) {
	visit(m)
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				visitAll(v.Message(), visit)
				return true
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				visitAll(v.List().Get(i).Message(), visit)
			}
		case !f.IsList() && !f.IsMap() && f.Message() != nil:
			visitAll(v.Message(), visit)
		}
		return true
	})
}

// near is a request that is made of a configuration's own words.
func (d dice) near(of map[string][]string) request {
	q := d.request()
	q.fields = nil
	q.path = "/" // a target that Envoy takes
	if paths := of[":path"]; len(paths) > 0 && d.chance(0.8) {
		if p := pick(d, paths); strings.HasPrefix(p, "/") {
			q.path = p
		}
	}
	if hosts := of[":authority"]; len(hosts) > 0 && d.chance(0.8) {
		if h := pick(d, hosts); !strings.ContainsAny(h, "[]* ") {
			q.host = h
		}
	}
	if methods := of[":method"]; len(methods) > 0 && d.chance(0.5) {
		if m := pick(d, methods); strings.ToUpper(m) == m && !strings.ContainsAny(m, "[]") {
			q.method = m
		}
	}
	for name, values := range of {
		if !strings.HasPrefix(name, ":") && name != "principal" && d.chance(0.8) {
			q.fields = append(q.fields, [2]string{name, pick(d, values)})
		}
	}
	q.write()
	return q
}

// peers are clients with the identities that a configuration names.
func (d dice) peers(authority *envoy.Authority, of map[string][]string) []client {
	out := clients(authority, true)
	for _, p := range of["principal"] {
		// Of an expression, one text that fits.
		uri := strings.NewReplacer(".*", "x", "\\Q", "", "\\E", "", "\\", "", "^", "", "$", "", "(", "", ")", "", "[^/]+", "x", ".+", "x").Replace(p)
		if !strings.Contains(uri, "://") {
			uri = "spiffe://" + uri
		}
		if strings.ContainsAny(uri, "[]|?") || len(out) > 12 {
			continue
		}
		identity := &envoy.Identity{URIs: []string{uri}}
		out = append(out, client{from: out[0].from, identity: identity, config: authority.Client("", identity)})
	}
	return out
}

func TestEnvoyAgreesOnWhatIstiosOwnBuilderMakes(t *testing.T) {
	d := newDice(t)
	var cases []*rbacCase
	for name, content := range istioConfigs(t, "http") {
		filter := &hcmv3.HttpFilter{}
		if err := protojson.Unmarshal(content, filter); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		config := &httprbacv3.RBAC{}
		if !filter.GetTypedConfig().MessageIs(config) {
			continue // ext_authz
		}
		if err := filter.GetTypedConfig().UnmarshalTo(config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		moved, _ := proto.Clone(config).(*httprbacv3.RBAC)
		here(moved)
		for suffix, c := range map[string]*httprbacv3.RBAC{"": config, "-here": moved} {
			one := &rbacCase{name: name + suffix, filters: []*httprbacv3.RBAC{c}, secure: true, state: "spiffe://cluster.local/ns/a/sa/b"}
			of := words(c)
			one.clients = func(a *envoy.Authority) []client { return d.peers(a, of) }
			for range *perConfig {
				one.requests = append(one.requests, d.near(of))
			}
			cases = append(cases, one)
		}
	}
	if len(cases) < 80 {
		t.Fatalf("only %d configurations", len(cases))
	}
	runRBAC(t, d, cases)
}

func TestEnvoyAgreesOnWhatIstiosOwnBuilderMakesForTCP(t *testing.T) {
	d := newDice(t)
	authority := envoy.NewAuthority(t)
	ways := map[string][]client{}
	var cases []*networkCase
	for name, content := range istioConfigs(t, "tcp") {
		filter := &listenerv3.Filter{}
		if err := protojson.Unmarshal(content, filter); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		config := &networkrbacv3.RBAC{}
		if !filter.GetTypedConfig().MessageIs(config) {
			continue // ext_authz
		}
		if err := filter.GetTypedConfig().UnmarshalTo(config); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		moved, _ := proto.Clone(config).(*networkrbacv3.RBAC)
		here(moved)
		for suffix, c := range map[string]*networkrbacv3.RBAC{"": config, "-here": moved} {
			one := &networkCase{name: name + suffix, filters: []*networkrbacv3.RBAC{c}, secure: true}
			ways[one.name] = d.peers(authority, words(c))
			cases = append(cases, one)
		}
	}
	runNetwork(t, cases, func(c *networkCase) []client { return ways[c.name] }, authority)
}
