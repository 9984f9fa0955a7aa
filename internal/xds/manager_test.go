// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package xds_test

import (
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	rbacv3 "github.com/envoyproxy/go-control-plane/envoy/config/rbac/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	httprbacv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/rbac/v3"
	routerv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/trellis-mesh/trellis/internal/xds"
)

func packed(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	out, err := anypb.New(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func managers(t testing.TB) []*hcmv3.HttpConnectionManager {
	t.Helper()
	rules := packed(t, &httprbacv3.RBAC{Rules: &rbacv3.RBAC{Action: rbacv3.RBAC_DENY}})
	return []*hcmv3.HttpConnectionManager{
		{},
		{
			StatPrefix:     "inbound",
			RouteSpecifier: &hcmv3.HttpConnectionManager_RouteConfig{RouteConfig: &routev3.RouteConfiguration{Name: "inline"}},
			HttpFilters: []*hcmv3.HttpFilter{
				{Name: "rbac", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: rules}, Disabled: true},
				{Name: "bare"},
				{Name: "apart", ConfigType: &hcmv3.HttpFilter_ConfigDiscovery{ConfigDiscovery: &corev3.ExtensionConfigSource{DefaultConfig: rules}}},
				{Name: "empty", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: &anypb.Any{}}},
				{Name: "router", ConfigType: &hcmv3.HttpFilter_TypedConfig{TypedConfig: packed(t, &routerv3.Router{})}, IsOptional: true},
			},
		},
	}
}

func TestAManagerIsReadAsProtobufReadsIt(t *testing.T) {
	for _, want := range managers(t) {
		got, err := xds.Manager(packed(t, want))
		if err != nil || !proto.Equal(got, want) {
			t.Errorf("%v\nwant %v (%v)", got, want, err)
		}
	}
	if _, err := xds.Manager(packed(t, &routerv3.Router{})); err == nil {
		t.Error("another filter is taken")
	}
}

// FuzzManagersAreReadAsProtobufReadsThem compares what both take. Text that is no
// UTF-8 is refused by protobuf and need not be here: nothing compares the types of
// filters with it.
func FuzzManagersAreReadAsProtobufReadsThem(f *testing.F) {
	for _, m := range managers(f) {
		f.Add(packed(f, m).GetValue())
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		config := &anypb.Any{TypeUrl: packed(t, &hcmv3.HttpConnectionManager{}).GetTypeUrl(), Value: raw}
		want := &hcmv3.HttpConnectionManager{}
		wrong := config.UnmarshalTo(want)
		got, err := xds.Manager(config)
		switch {
		case wrong == nil && err != nil:
			t.Errorf("protobuf reads it, and we do not: %v", err)
		case wrong == nil && !proto.Equal(got, want):
			t.Errorf("%v\nwant %v", got, want)
		}
	})
}
