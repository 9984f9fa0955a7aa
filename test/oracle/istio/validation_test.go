// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package istio asks Istio's own code about what Trellis generates. It is a
// module of its own, so that nothing else links Istio's packages, and it reads
// golden files, not the compiler.
package istio

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"istio.io/api/annotation"
	networkingapi "istio.io/api/networking/v1alpha3"
	securityapi "istio.io/api/security/v1beta1"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/config/validation"
	"istio.io/istio/pkg/config/validation/envoyfilter"
	"istio.io/istio/pkg/util/protomarshal"
	"sigs.k8s.io/yaml"

	"google.golang.org/protobuf/proto"
)

// kinds are those that Istio validates, each with what its webhook calls.
var kinds = map[string]struct {
	gvk      config.GroupVersionKind
	spec     func() proto.Message
	validate validation.ValidateFunc
}{
	"Gateway":               {gvk.Gateway, func() proto.Message { return &networkingapi.Gateway{} }, validation.ValidateGateway},
	"VirtualService":        {gvk.VirtualService, func() proto.Message { return &networkingapi.VirtualService{} }, validation.ValidateVirtualService},
	"DestinationRule":       {gvk.DestinationRule, func() proto.Message { return &networkingapi.DestinationRule{} }, validation.ValidateDestinationRule},
	"Sidecar":               {gvk.Sidecar, func() proto.Message { return &networkingapi.Sidecar{} }, validation.ValidateSidecar},
	"ServiceEntry":          {gvk.ServiceEntry, func() proto.Message { return &networkingapi.ServiceEntry{} }, validation.ValidateServiceEntry},
	"EnvoyFilter":           {gvk.EnvoyFilter, func() proto.Message { return &networkingapi.EnvoyFilter{} }, envoyfilter.ValidateEnvoyFilter},
	"AuthorizationPolicy":   {gvk.AuthorizationPolicy, func() proto.Message { return &securityapi.AuthorizationPolicy{} }, validation.ValidateAuthorizationPolicy},
	"RequestAuthentication": {gvk.RequestAuthentication, func() proto.Message { return &securityapi.RequestAuthentication{} }, validation.ValidateRequestAuthentication},
	"PeerAuthentication":    {gvk.PeerAuthentication, func() proto.Message { return &securityapi.PeerAuthentication{} }, validation.ValidatePeerAuthentication},
}

type object struct {
	Kind     string
	Metadata struct {
		Name, Namespace string
		Annotations     map[string]string
	}
	Spec map[string]any
}

// TestIstioTakesEverythingThatIsGenerated runs the checks of Istio's webhook on
// every golden file of the compiler. A warning fails, too.
func TestIstioTakesEverythingThatIsGenerated(t *testing.T) {
	files, err := filepath.Glob("../../../internal/compile/testdata/*/out.yaml")
	if err != nil || len(files) < 90 {
		t.Fatalf("%d golden files (%v)", len(files), err)
	}
	checked := map[string]int{}
	for _, file := range files {
		t.Run(filepath.Base(filepath.Dir(file)), func(t *testing.T) {
			raw, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range bytes.Split(raw, []byte("---\n")) {
				if kind := validate(t, text); kind != "" {
					checked[kind]++
				}
			}
		})
	}
	for kind := range kinds {
		if checked[kind] == 0 {
			t.Errorf("no golden file has a %s: nothing was shown of it", kind)
		}
	}
	t.Log(checked)
}

func validate(t *testing.T, text []byte) string {
	t.Helper()
	var o object
	if err := yaml.Unmarshal(text, &o); err != nil {
		t.Fatal(err)
	}
	kind, ok := kinds[o.Kind]
	if !ok {
		return ""
	}
	spec := kind.spec()
	if err := protomarshal.ApplyYAMLStrict(specText(t, o), spec); err != nil {
		t.Errorf("%s %s: %v", o.Kind, o.Metadata.Name, err)
		return ""
	}
	warnings, err := kind.validate(config.Config{
		Meta: config.Meta{GroupVersionKind: kind.gvk, Name: o.Metadata.Name, Namespace: o.Metadata.Namespace, Annotations: o.Metadata.Annotations},
		Spec: spec,
	})
	if err != nil || (warnings != nil && !expected(t.Name(), warnings.Error())) {
		t.Errorf("%s %s/%s: error %v, warning %v", o.Kind, o.Metadata.Namespace, o.Metadata.Name, err, warnings)
	}
	if _, dry := o.Metadata.Annotations[annotation.IoIstioDryRun.Name]; dry != strings.HasSuffix(o.Metadata.Name, "-shadow") {
		t.Errorf("%s %s: that it is a dry run is %v", o.Kind, o.Metadata.Name, dry)
	}
	return o.Kind
}

// expected are the warnings that are known and meant: path guards are filters in
// Envoy's stable API, and where no port could be resolved rules are about all of
// them.
func expected(name, warning string) bool {
	if strings.HasPrefix(warning, "EnvoyFilter exposes internal implementation details") {
		return true
	}
	unresolved := []string{"an-unresolved-https-target", "a-named-target-port-that-no-pod", "a-port-that-the-service-does-not-have", "a-protocol-that-differs"}
	return strings.Contains(warning, "will deny all traffic to TCP ports") &&
		slices.ContainsFunc(unresolved, func(part string) bool { return strings.Contains(name, "/"+part) })
}

func specText(t *testing.T, o object) string {
	t.Helper()
	text, err := yaml.Marshal(o.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func TestIstioWouldRefuseWhatIsWrong(t *testing.T) {
	// The other test proves nothing if validation takes anything.
	_, err := validation.ValidateAuthorizationPolicy(config.Config{
		Meta: config.Meta{GroupVersionKind: gvk.AuthorizationPolicy, Name: "x", Namespace: "y"},
		Spec: &securityapi.AuthorizationPolicy{Rules: []*securityapi.Rule{{When: []*securityapi.Condition{{Key: "nothing"}}}}},
	})
	if err == nil {
		t.Error("a policy with an unknown condition is taken")
	}
}
