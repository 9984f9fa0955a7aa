// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package istiod

import (
	"testing"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	networkrbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/rbac/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	securityapi "istio.io/api/security/v1beta1"
	securityv1 "istio.io/client-go/pkg/apis/security/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
)

// chainWith has rules in an RBAC filter, for HTTP or for TCP.
func chainWith(t *testing.T, http bool, enforced, tried *rbacv3.RBAC) *listenerv3.FilterChain {
	t.Helper()
	wrap := func(m proto.Message) *anypb.Any {
		out, err := anypb.New(m)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	filter := wrap(&networkrbacv3.RBAC{Rules: enforced, ShadowRules: tried})
	if http {
		one := wrap(&httprbacv3.RBAC{Rules: enforced, ShadowRules: tried})
		filter = wrap(&hcmv3.HttpConnectionManager{HttpFilters: []*hcmv3.HttpFilter{{
			Name: "envoy.filters.http.rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: one},
		}}})
	}
	return &listenerv3.FilterChain{Filters: []*listenerv3.Filter{{ConfigType: &listenerv3.Filter_TypedConfig{TypedConfig: filter}}}}
}

func TestAPolicyThatIsOnlyTriedIsFoundAmongWhatProxiesCountAndOneThatHoldsAmongWhatTheyDo(t *testing.T) {
	spec, as := &securityapi.Rule{}, &rbacv3.Policy{}
	for text, into := range map[string]proto.Message{rule: spec, compiled: as} {
		if err := protojson.Unmarshal([]byte(text), into); err != nil {
			t.Fatal(err)
		}
	}
	rules := &rbacv3.RBAC{Policies: map[string]*rbacv3.Policy{"ns[shop]-policy[p]-rule[0]": as}}
	for _, test := range []struct {
		name             string
		annotations      map[string]string
		enforced, shadow *rbacv3.RBAC
		want             likeness
	}{
		{"it holds, and proxies deny", nil, rules, nil, alike},
		{"it holds, and proxies only count", nil, nil, rules, absent},
		{"it is tried, and proxies count", map[string]string{compile.AnnotationDryRun: "true"}, nil, rules, alike},
		{"it is tried, and proxies deny", map[string]string{compile.AnnotationDryRun: "true"}, rules, nil, absent},
	} {
		for _, http := range []bool{true, false} {
			object := &securityv1.AuthorizationPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "p", Annotations: test.annotations}}
			object.Spec.Rules = []*securityapi.Rule{spec}
			packed, err := compile.Pack(compile.Object{Ref: model.Reference{Kind: "AuthorizationPolicy", Namespace: "shop", Name: "p"}, Value: object})
			if err != nil {
				t.Fatal(err)
			}
			r, err := newRecogniser(packed)
			if err != nil {
				t.Fatal(err)
			}
			x := &dumpIndex{enforced: newPolicies(), tried: newPolicies(), httpFilters: set{}, read: set{}}
			if err := x.readChain(chainWith(t, http, test.enforced, test.shadow), true); err != nil {
				t.Fatal(err)
			}
			if got, what := r.find(x); got != test.want {
				t.Errorf("%s (HTTP: %t): %d %s, want %d", test.name, http, got, what, test.want)
			}
		}
	}
}
