// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	withServer = "server.enabled=true"
	// The paths of internal/server/admit, which this package does not link: it links
	// Istio. An end-to-end test holds the one to the other.
	pathApplication   = "/test-trellis-dev-v1alpha1-application"
	pathSecureIngress = "/test-trellis-dev-v1alpha1-secureingress"
)

// serverRights is everything that trellis-server may do, as rights is for the
// operator. Nothing in it writes: a review of a token or of a right is a question.
var serverRights = map[string]map[string]string{
	"ClusterRole trellis-server": {
		"applications.trellis.dev":                  read,
		"secureingresses.trellis.dev":               read,
		"hostclaims.trellis.dev":                    read,
		"managedcertificates.trellis.dev":           read,
		"mutualtlsrollouts.trellis.dev":             read,
		"goals.trellis.dev":                         read,
		"policytemplates.trellis.dev":               read,
		"clusterpolicybindings.trellis.dev":         read,
		"policybindings.trellis.dev":                read,
		"policyexceptions.trellis.dev":              read,
		"controllerrevisions.apps":                  read,
		"gateways.networking.istio.io":              read,
		"virtualservices.networking.istio.io":       read,
		"destinationrules.networking.istio.io":      read,
		"serviceentries.networking.istio.io":        read,
		"sidecars.networking.istio.io":              read,
		"workloadentries.networking.istio.io":       read,
		"workloadgroups.networking.istio.io":        read,
		"envoyfilters.networking.istio.io":          read,
		"proxyconfigs.networking.istio.io":          read,
		"authorizationpolicies.security.istio.io":   read,
		"requestauthentications.security.istio.io":  read,
		"peerauthentications.security.istio.io":     read,
		"telemetries.telemetry.istio.io":            read,
		"wasmplugins.extensions.istio.io":           read,
		"gatewayclasses.gateway.networking.k8s.io":  read,
		"gateways.gateway.networking.k8s.io":        read,
		"httproutes.gateway.networking.k8s.io":      read,
		"grpcroutes.gateway.networking.k8s.io":      read,
		"referencegrants.gateway.networking.k8s.io": read,
		"namespaces":                       read,
		"pods":                             read,
		"services":                         read,
		"endpointslices.discovery.k8s.io":  read,
		"ingresses.networking.k8s.io":      read,
		"ingressclasses.networking.k8s.io": read,
		"customresourcedefinitions.apiextensions.k8s.io": read,
		"tokenreviews.authentication.k8s.io":             "create",
		"subjectaccessreviews.authorization.k8s.io":      "create",
		"managedrecords.trellis.dev":                     read,
		"dnsproviders.trellis.dev":                       read,
	},
	"Role trellis-system/trellis-server":    {"secrets trellis-server": "get"},
	"Role istio-system/trellis-server-mesh": {"configmaps istio": read},
}

func TestTheServerHasExactlyTheRightsOnTheListAndNoneToWrite(t *testing.T) {
	roles := rolesOf(t, render(t, withServer), "trellis-server")
	for name, rules := range roles {
		got := granted(rules)
		if !maps.Equal(got, serverRights[name]) {
			t.Errorf("%s may %v, the list says %v", name, got, serverRights[name])
		}
		for resource, verbs := range got {
			if !strings.HasSuffix(strings.SplitN(resource, ".", 2)[0], "reviews") && strings.Trim(strings.NewReplacer("get", "", "list", "", "watch", "").Replace(verbs), " ") != "" {
				t.Errorf("%s may %s %s", name, verbs, resource)
			}
		}
	}
	if len(roles) != len(serverRights) {
		t.Errorf("the server has %d roles, the list has %d", len(roles), len(serverRights))
	}
}

func TestAnOperatorWithAServerMayKeepItsCertificateAndRecordsAndNoMore(t *testing.T) {
	without, with := rolesOf(t, render(t), "trellis-operator"), rolesOf(t, render(t, withServer), "trellis-operator")
	more := map[string]string{
		"controllerrevisions.apps": "create delete get list watch",
		"validatingwebhookconfigurations.admissionregistration.k8s.io trellis-server": "get list update watch",
		"secrets trellis-probe,trellis-webhook,trellis-acme-accounts,trellis-server":  "get list update watch",
	}
	for name, rules := range with {
		before := granted(without[name])
		for resource, verbs := range granted(rules) {
			if before[resource] != verbs && more[resource] != verbs {
				t.Errorf("%s may %q %s", name, verbs, resource)
			}
			delete(more, resource)
		}
	}
	for resource := range more {
		t.Errorf("it lacks the right to %s", resource)
	}
}

func TestWithoutAServerNothingOfItIsThere(t *testing.T) {
	for _, object := range render(t) {
		if strings.Contains(object.GetName(), "trellis-server") {
			t.Errorf("%T %s", object, object.GetName())
		}
	}
	for _, argument := range theOnly[*appsv1.Deployment](t, render(t)).Spec.Template.Spec.Containers[0].Args {
		if strings.HasPrefix(argument, "--server") {
			t.Errorf("the operator waits for a server by %s", argument)
		}
	}
}

func TestTheServerIsAskedAboutTestsAndHoldsUpNothing(t *testing.T) {
	configurations := only[*admissionv1.ValidatingWebhookConfiguration](render(t, withServer))
	at := slices.IndexFunc(configurations, func(c *admissionv1.ValidatingWebhookConfiguration) bool { return c.Name == "trellis-server" })
	if at < 0 {
		t.Fatal("there is no registration of the server")
	}
	paths := map[string]bool{}
	for _, hook := range configurations[at].Webhooks {
		if *hook.FailurePolicy != admissionv1.Ignore || *hook.SideEffects != admissionv1.SideEffectClassNone || *hook.TimeoutSeconds != 5 {
			t.Errorf("%s: failure policy %s, side effects %s, timeout %d", hook.Name, *hook.FailurePolicy, *hook.SideEffects, *hook.TimeoutSeconds)
		}
		paths[*hook.ClientConfig.Service.Path] = true
		for _, rule := range hook.Rules {
			if !slices.Equal(rule.APIGroups, []string{"trellis.dev"}) || slices.Contains(rule.Operations, admissionv1.Delete) {
				t.Errorf("%s concerns %v", hook.Name, rule)
			}
			if slices.Contains(rule.Resources, "applications") && (len(hook.MatchConditions) != 1 || !strings.Contains(hook.MatchConditions[0].Expression, "object.spec.tests")) {
				t.Errorf("%s is asked about Applications without tests: %v", hook.Name, hook.MatchConditions)
			}
		}
	}
	if !paths[pathApplication] || !paths[pathSecureIngress] || len(paths) != 2 {
		t.Errorf("the paths are %v", paths)
	}
}

func TestTheServersPodMeetsTheRestrictedStandard(t *testing.T) {
	deployments := only[*appsv1.Deployment](render(t, withServer))
	at := slices.IndexFunc(deployments, func(d *appsv1.Deployment) bool { return d.Name == "trellis-server" })
	if at < 0 {
		t.Fatal("there is no server")
	}
	pod := deployments[at].Spec.Template.Spec
	if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || *pod.SecurityContext.RunAsUser != 65532 || !*pod.SecurityContext.RunAsNonRoot {
		t.Errorf("pod runs as: %+v", pod.SecurityContext)
	}
	if len(pod.Volumes) != 0 || pod.HostNetwork {
		t.Errorf("it has volumes %v, host network: %t", pod.Volumes, pod.HostNetwork)
	}
	restricted(t, pod.Containers[0])
	if deployments[1-at].Spec.Selector.MatchLabels["app.kubernetes.io/component"] == deployments[at].Spec.Selector.MatchLabels["app.kubernetes.io/component"] {
		t.Error("Services of the one lead to pods of the other")
	}
}

func TestAServerOutsideTheClusterIsReachedByURL(t *testing.T) {
	objects := render(t, withServer, `server.url="https://127.0.0.1:9444/"`)
	for _, d := range only[*appsv1.Deployment](objects) {
		if d.Name == "trellis-server" {
			t.Error("a Deployment of a server that is elsewhere")
		}
		if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--server-address=https://127.0.0.1:9444/") {
			t.Errorf("the operator has the arguments %v", args)
		}
	}
	for _, c := range only[*admissionv1.ValidatingWebhookConfiguration](objects) {
		if c.Name == "trellis-server" && *c.Webhooks[0].ClientConfig.URL != "https://127.0.0.1:9444"+pathApplication {
			t.Errorf("the URL is %s", *c.Webhooks[0].ClientConfig.URL)
		}
	}
}

func TestAccessLogsAreTakenWhereSomebodyAskedForIt(t *testing.T) {
	for _, c := range []struct {
		values   []string
		argument string
		port     int32
	}{
		{[]string{withServer}, "", 0},
		{[]string{withServer, "server.collector.enabled=true"}, "--collector-address=:4317", 4317},
		{[]string{withServer, "server.collector.enabled=true", "server.collector.port=14317"}, "--collector-address=:14317", 14317},
	} {
		objects := render(t, c.values...)
		argument, ports := "", map[string]int32{}
		for _, d := range only[*appsv1.Deployment](objects) {
			for _, a := range d.Spec.Template.Spec.Containers[0].Args {
				if strings.HasPrefix(a, "--collector") {
					argument = a
				}
			}
			for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
				ports[p.Name] = p.ContainerPort
			}
		}
		served := int32(0)
		for _, s := range only[*corev1.Service](objects) {
			for _, p := range s.Spec.Ports {
				if p.Name == "grpc-otlp" && s.Name == "trellis-server" && *p.AppProtocol == "grpc" && p.TargetPort.String() == "grpc-otlp" {
					served = p.Port
				}
			}
		}
		if argument != c.argument || ports["grpc-otlp"] != c.port || served != c.port {
			t.Errorf("%v: argument %q, port %d of the pod and %d of the Service", c.values, argument, ports["grpc-otlp"], served)
		}
	}
}

func TestQuestionsAreAnsweredUnlessTheyAreTurnedOff(t *testing.T) {
	for _, c := range []struct {
		values    []string
		arguments string
		port      int32
	}{
		{[]string{withServer}, "--api-address=:8443", 8443},
		{[]string{withServer, "server.api.port=18443", `server.console.repository="https://git.example.com/blob/main/{path}"`},
			"--api-address=:18443 --console-repository=https://git.example.com/blob/main/{path}", 18443},
		{[]string{withServer, "server.api.enabled=false"}, "--api-address=", 0},
	} {
		objects := render(t, c.values...)
		var arguments []string
		port, served := int32(0), int32(0)
		for _, d := range only[*appsv1.Deployment](objects) {
			for _, a := range d.Spec.Template.Spec.Containers[0].Args {
				if strings.HasPrefix(a, "--api") || strings.HasPrefix(a, "--console") {
					arguments = append(arguments, a)
				}
			}
			for _, p := range d.Spec.Template.Spec.Containers[0].Ports {
				if p.Name == "https-api" {
					port = p.ContainerPort
				}
			}
		}
		for _, s := range only[*corev1.Service](objects) {
			for _, p := range s.Spec.Ports {
				if p.Name == "https-api" && s.Name == "trellis-server" && p.TargetPort.String() == "https-api" {
					served = p.Port
				}
			}
		}
		if strings.Join(arguments, " ") != c.arguments || port != c.port || served != c.port {
			t.Errorf("%v: arguments %q, port %d of the pod and %d of the Service", c.values, arguments, port, served)
		}
		_, may := granted(rolesOf(t, objects, "trellis-server")["ClusterRole trellis-server"])["subjectaccessreviews.authorization.k8s.io"]
		if may != (c.port > 0) {
			t.Errorf("%v: it may ask who may read what: %t", c.values, may)
		}
	}
}

// rolesOf are those that a binding gives to an account of the chart.
func rolesOf(t *testing.T, objects []client.Object, account string) map[string][]rbacv1.PolicyRule {
	t.Helper()
	all, bound := allRoles(objects), map[string][]rbacv1.PolicyRule{}
	bind := func(role string, subjects []rbacv1.Subject) {
		if slices.Equal(subjects, []rbacv1.Subject{{Kind: "ServiceAccount", Name: account, Namespace: namespace}}) {
			bound[role] = all[role]
		}
	}
	for _, binding := range only[*rbacv1.ClusterRoleBinding](objects) {
		bind(binding.RoleRef.Kind+" "+binding.RoleRef.Name, binding.Subjects)
	}
	for _, binding := range only[*rbacv1.RoleBinding](objects) {
		bind(binding.RoleRef.Kind+" "+binding.Namespace+"/"+binding.RoleRef.Name, binding.Subjects)
	}
	return bound
}
