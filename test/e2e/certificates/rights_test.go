// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package certificates

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/test/acme"
	"github.com/trellis-mesh/trellis/test/nameserver"
)

// The reasons why a right is there that is not used here.
const (
	everyKindAlike = "internal/apply writes every kind alike, and here are not all: created, patched, updated where a field of others is taken out, deleted"
	notHere        = "there is neither cert-manager nor ExternalDNS here"
	noWebhook      = "there is no webhook here"
	noRollout      = "no rollout is begun here; test/e2e/rollout does, with the rights of the chart"
	noPolicy       = "there are no policies here"
	noReports      = "OpenReports are not installed here; internal/operator writes them"
	repeated       = "an event that repeats is patched"
)

// laterAccount: the Secret with the keys of accounts is made with the first one, and
// which test comes first is chance.
const laterAccount = "the account at another authority is put beside the first one's"

// spare are rights that this package need not use: a right, or all to a resource.
var spare = map[string]string{
	"authorizationpolicies.security.istio.io":  everyKindAlike,
	"configmaps in istio-ingress":              everyKindAlike,
	"destinationrules.networking.istio.io":     everyKindAlike,
	"envoyfilters.networking.istio.io":         everyKindAlike,
	"gateways.networking.istio.io":             everyKindAlike,
	"hostclaims.trellis.dev":                   everyKindAlike,
	"peerauthentications.security.istio.io":    everyKindAlike,
	"requestauthentications.security.istio.io": everyKindAlike,
	"serviceentries.networking.istio.io":       everyKindAlike,
	"sidecars.networking.istio.io":             everyKindAlike,
	"virtualservices.networking.istio.io":      everyKindAlike,
	"update managedcertificates.trellis.dev":   everyKindAlike,
	"update managedrecords.trellis.dev":        everyKindAlike,

	"certificates.cert-manager.io in istio-ingress":    notHere,
	"clusterissuers.cert-manager.io":                   notHere,
	"dnsendpoints.externaldns.k8s.io in istio-ingress": notHere,
	"issuers.cert-manager.io in istio-ingress":         notHere,

	"validatingwebhookconfigurations.admissionregistration.k8s.io": noWebhook,

	"patch mutualtlsrollouts.trellis.dev/status": noRollout,

	"patch goals.trellis.dev/status":                 noPolicy,
	"patch policytemplates.trellis.dev/status":       noPolicy,
	"patch clusterpolicybindings.trellis.dev/status": noPolicy,
	"patch policybindings.trellis.dev/status":        noPolicy,
	"patch policyexceptions.trellis.dev/status":      noPolicy,

	"reports.openreports.io": noReports,

	"update secrets in trellis-system": laterAccount,

	"patch events":               repeated,
	"patch events.events.k8s.io": repeated,
}

// TestTheRightsOfTheChartAreEnoughAndEachIsUsed lives through the life of a name,
// from its first entry until it is withdrawn, and reads in the API server's audit
// log what the operator asked for.
func TestTheRightsOfTheChartAreEnoughAndEachIsUsed(t *testing.T) {
	liveThrough(t)
	asked, err := world.Audited()
	must(t, err)
	used := map[string]bool{}
	for _, r := range asked {
		if !r.Allowed {
			t.Errorf("the operator may not %s %s/%s %s in %q: %s", r.Verb, r.Resource, r.Subresource, r.Name, r.Namespace, r.Reason)
		}
		used[right(r.Namespace, r.Group, r.Resource, r.Subresource, reading(r.Verb))] = true
		used[right("", r.Group, r.Resource, r.Subresource, reading(r.Verb))] = true
	}
	if len(used) < 50 {
		t.Fatalf("the audit log has only %d rights", len(used))
	}
	given := granted(t)
	for _, one := range slices.Sorted(maps.Keys(given)) {
		if !used[one] && reason(one) == "" {
			t.Errorf("nothing needs the right: %s", one)
		}
	}
	for one := range spare {
		if !slices.ContainsFunc(slices.Collect(maps.Keys(given)), func(r string) bool { return strings.HasSuffix(r, one) }) {
			t.Errorf("a reason is given for a right that the chart does not give: %s", one)
		}
	}
}

// reason is why a right is there that is not used here: of the right itself, or of
// all rights to a resource.
func reason(right string) string {
	if why := spare[right]; why != "" {
		return why
	}
	return spare[right[strings.Index(right, " ")+1:]]
}

// reading is one right: libraries list or watch, by the age of the API server, and
// get what nobody has watched yet.
func reading(verb string) string {
	if slices.Contains([]string{"get", "list", "watch"}, verb) {
		return "read"
	}
	return verb
}

// right is a verb, a resource with its group and, for the rights in one namespace,
// that one.
func right(namespace, group, resource, subresource, verb string) string {
	out := verb + " " + resource
	if group != "" {
		out += "." + group
	}
	if subresource != "" {
		out += "/" + subresource
	}
	if namespace != "" {
		out += " in " + namespace
	}
	return out
}

// granted are the rights of the chart.
func granted(t *testing.T) map[string]bool {
	t.Helper()
	raw, err := os.ReadFile("../../../config/rbac/rbac.yaml")
	must(t, err)
	out := map[string]bool{}
	for document := range strings.SplitSeq(string(raw), "\n---\n") {
		// A ClusterRole without a namespace has the same fields.
		var role rbacv1.Role
		must(t, yaml.Unmarshal([]byte(document), &role))
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					for _, verb := range rule.Verbs {
						name, sub, _ := strings.Cut(resource, "/")
						out[right(role.Namespace, group, name, sub, reading(verb))] = true
					}
				}
			}
		}
	}
	return out
}

// liveThrough has a name entered, proven, renewed, and withdrawn, and a fault seen.
func liveThrough(t *testing.T) {
	t.Helper()
	server, err := nameserver.Start(t.Context(), nameserver.Process, "rights.example.com")
	must(t, err)
	t.Cleanup(server.Stop)
	s := newSite(t, "rights")
	s.provider(server)
	ca := s.authority(acme.Options{Resolver: server.Address})
	ingress := s.publish(fmt.Sprintf("  tls: {builtIn: {directory: %q}}\n  dns: {providerRef: {name: %s}}\n", ca.Directory, s.name))
	c := s.issued()
	before := s.secret(c)
	renew := fmt.Appendf(nil, `{"metadata":{"annotations":{%q:%q}}}`, v1alpha1.RenewAnnotation, time.Now().Format(time.RFC3339Nano))
	must(t, world.client.Patch(t.Context(), c, client.RawPatch(types.MergePatchType, renew)))
	s.await("another certificate in the Secret", func(context.Context) error {
		if serial(t, s.secret(c)) == serial(t, before) {
			return errors.New("it is the first one")
		}
		return nil
	})
	provider := &v1alpha1.DNSProvider{ObjectMeta: metav1.ObjectMeta{Namespace: ingressNamespace, Name: s.name}}
	must(t, world.client.Delete(t.Context(), provider))
	must(t, world.client.Delete(t.Context(), ingress))
	s.await("everything to be withdrawn", func(ctx context.Context) error {
		if sets, err := server.Dump(); err != nil || len(sets) > 0 {
			return fmt.Errorf("%w: the zone has %v", err, sets)
		}
		if err := world.client.Get(ctx, client.ObjectKeyFromObject(provider), provider); client.IgnoreNotFound(err) != nil || err == nil {
			return fmt.Errorf("the DNSProvider is there: %w", err)
		}
		return nil
	})
}
