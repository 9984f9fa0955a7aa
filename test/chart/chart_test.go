// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func TestEveryValueRendersToObjectsOfTheirTypes(t *testing.T) {
	for _, values := range [][]string{
		nil,
		{`webhook.url="https://127.0.0.1:9443/"`, `gatewayNamespaces=["a","b"]`},
		{`webhook.enabled=false`, `crds.install=false`, `gatewayNamespaces=[]`},
		{
			`image={"digest":"sha256:` + strings.Repeat("0a", 32) + `","pullSecrets":["pull"]}`,
			`podLabels={"a":"b"}`, `podAnnotations={"c":"d"}`, `serviceAccount.annotations={"e":"f"}`,
			`nodeSelector={"kubernetes.io/os":"linux"}`, `tolerations=[{"operator":"Exists"}]`,
			`affinity={"nodeAffinity":{}}`, `priorityClassName="system-cluster-critical"`,
			`topologySpreadConstraints=[{"maxSkew":1,"topologyKey":"zone","whenUnsatisfiable":"ScheduleAnyway"}]`,
		},
		{`guards.enabled=false`, `roles.aggregate=false`},
		{`podSecurity={"runAsUser":null,"runAsGroup":null}`},
		{`monitoring.dashboards={"enabled":true,"annotations":{"a":"b"}}`, `monitoring.rules={"enabled":true,"labels":{"release":"prometheus"}}`, `monitoring.podMonitor={"enabled":true,"interval":"15s"}`},
		{withServer, `server.image={"digest":"sha256:` + strings.Repeat("0a", 32) + `"}`, `image.pullSecrets=["pull"]`, `podLabels={"a":"b"}`},
		{withServer, `server.url="https://127.0.0.1:9444"`, `webhook.enabled=false`},
	} {
		t.Run(fmt.Sprint(values), func(t *testing.T) {
			if objects := render(t, values...); len(objects) < 10 {
				t.Errorf("only %d objects", len(objects))
			}
		})
	}
}

func TestValuesThatMeanNothingAreRefused(t *testing.T) {
	for _, c := range []struct{ value, says string }{
		{`replcas=2`, "replcas"},
		{`mesh.trustdomain="x"`, "trustdomain"},
		{`replicas="two"`, "replicas"},
		{`webhook.failurePolicy="Maybe"`, "failurePolicy"},
		{`webhook.url="http://127.0.0.1:9443"`, "url"},
		{`podSecurity.runAsUser=0`, "runAsUser"},
		{`gatewayNamespaces=["Not_A_Name"]`, "gatewayNamespaces"},
		{`dns.identityNamespaces=["*"]`, "identityNamespaces"},
		{`istiod.port=15012`, "port"},
		{`image.digest="sha256:short"`, "digest"},
		{`server.enable=true`, "enable"},
		{`guards.enabled="no"`, "guards"},
		{`roles.aggregated=true`, "aggregated"},
		{`server.collector.enabled=true`, "set server.enabled, too"},
		{`server.url="127.0.0.1:9444"`, "url"},
		{`monitoring.rules.enable=true`, "enable"},
		{`monitoring.podMonitor.interval="soon"`, "interval"},
	} {
		t.Run(c.value, func(t *testing.T) {
			_, err := template(t, c.value)
			if err == nil {
				t.Fatal("accepted")
			}
			if !strings.Contains(err.Error(), c.says) {
				t.Errorf("refused without naming %s: %v", c.says, err)
			}
		})
	}
}

func TestEveryDefaultValueIsInTheSchemaAndTheSchemaIsClosed(t *testing.T) {
	text, err := os.ReadFile(repository + "/charts/trellis/values.schema.json")
	if err != nil {
		t.Fatalf("reading the schema: %v", err)
	}
	open := strings.Count(string(text), `"properties"`) - strings.Count(string(text), `"additionalProperties": false`)
	if open != 0 {
		t.Errorf("%d objects of the schema let unknown values in", open)
	}
}

func TestOperatorPodMeetsTheRestrictedStandard(t *testing.T) {
	pod := theOnly[*appsv1.Deployment](t, render(t)).Spec.Template.Spec
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the pod shares namespaces of its node")
	}
	if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Errorf("seccomp profile: %v", pod.SecurityContext.SeccompProfile)
	}
	if *pod.SecurityContext.RunAsUser != 65532 || !*pod.SecurityContext.RunAsNonRoot {
		t.Errorf("pod runs as: %+v", pod.SecurityContext)
	}
	for _, volume := range pod.Volumes {
		if volume.Projected == nil {
			t.Errorf("volume %s is not a projected one", volume.Name)
		}
	}
	for _, container := range slices.Concat(pod.InitContainers, pod.Containers) {
		restricted(t, container)
	}
}

func restricted(t *testing.T, container corev1.Container) {
	t.Helper()
	context := container.SecurityContext
	switch {
	case context == nil:
		t.Fatalf("container %s has no security context", container.Name)
	case *context.AllowPrivilegeEscalation || !*context.ReadOnlyRootFilesystem || !*context.RunAsNonRoot:
		t.Errorf("container %s: %+v", container.Name, context)
	case !slices.Equal(context.Capabilities.Drop, []corev1.Capability{"ALL"}) || len(context.Capabilities.Add) > 0:
		t.Errorf("container %s keeps capabilities: %+v", container.Name, context.Capabilities)
	}
	if container.ReadinessProbe == nil || container.LivenessProbe == nil {
		t.Errorf("container %s has no probes", container.Name)
	}
	if container.Resources.Limits.Memory().IsZero() || container.Resources.Requests.Cpu().IsZero() {
		t.Errorf("container %s has no resources: %+v", container.Name, container.Resources)
	}
}

func TestThePodsCloudIdentityIsLentOnlyWhereAValueSaysSo(t *testing.T) {
	flag := func(values ...string) string {
		for _, a := range theOnly[*appsv1.Deployment](t, render(t, values...)).Spec.Template.Spec.Containers[0].Args {
			if strings.HasPrefix(a, "--dns-identity-namespaces") {
				return a
			}
		}
		return ""
	}
	if is := flag(); is != "" {
		t.Errorf("by default it is lent: %s", is)
	}
	if is := flag(`dns.identityNamespaces=["a","b"]`); is != "--dns-identity-namespaces=a,b" {
		t.Errorf("the flag is %q", is)
	}
}

func TestPlatformThatAssignsIdsGetsNone(t *testing.T) {
	pod := theOnly[*appsv1.Deployment](t, render(t, `podSecurity={"runAsUser":null,"runAsGroup":null}`)).Spec.Template.Spec
	if pod.SecurityContext.RunAsUser != nil || !*pod.SecurityContext.RunAsNonRoot {
		t.Errorf("security context: %+v", pod.SecurityContext)
	}
}

func TestWebhookConcernsOurOwnKindsOnlyAndDeletionOfTemplatesAlone(t *testing.T) {
	configuration := theOnly[*admissionv1.ValidatingWebhookConfiguration](t, render(t))
	var covered []string
	for _, hook := range configuration.Webhooks {
		if *hook.FailurePolicy != admissionv1.Fail || *hook.SideEffects != admissionv1.SideEffectClassNone || *hook.TimeoutSeconds != 5 {
			t.Errorf("%s: failure policy %s, side effects %s, timeout %d", hook.Name, *hook.FailurePolicy, *hook.SideEffects, *hook.TimeoutSeconds)
		}
		for _, rule := range hook.Rules {
			if !slices.Equal(rule.APIGroups, []string{"trellis.dev"}) {
				t.Errorf("%s concerns the API groups %v", hook.Name, rule.APIGroups)
			}
			if slices.Contains(rule.Operations, admissionv1.Delete) != slices.Equal(rule.Resources, []string{"policytemplates"}) || slices.Contains(rule.Operations, admissionv1.OperationAll) {
				t.Errorf("%s holds up %v", hook.Name, rule.Operations)
			}
			covered = append(covered, rule.Resources...)
		}
	}
	slices.Sort(covered)
	if want := []string{
		"applications", "clusterpolicybindings", "hostclaims", "policybindings", "policyexceptions", "policytemplates", "secureingresses",
	}; !slices.Equal(covered, want) {
		t.Errorf("the webhook covers %v, want %v", covered, want)
	}
}

func TestWebhookOfAnOperatorOutsideTheClusterIsReachedByURL(t *testing.T) {
	objects := render(t, `webhook.url="https://127.0.0.1:9443/"`)
	for _, hook := range theOnly[*admissionv1.ValidatingWebhookConfiguration](t, objects).Webhooks {
		client := hook.ClientConfig
		if client.Service != nil || client.URL == nil || !strings.HasPrefix(*client.URL, "https://127.0.0.1:9443/validate") {
			t.Errorf("%s: client %+v", hook.Name, client)
		}
	}
	for _, service := range only[*corev1.Service](objects) {
		if service.Name == "trellis-webhook" {
			t.Error("a Service for a webhook that is elsewhere")
		}
	}
}

func TestChartCarriesEveryDefinitionAndKeepsIt(t *testing.T) {
	files, err := filepath.Glob(repository + "/config/crd/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding the definitions: %v, %v", files, err)
	}
	definitions := only[*apiextensionsv1.CustomResourceDefinition](render(t))
	if len(definitions) != len(files) {
		t.Errorf("%d definitions in the chart, %d in config/crd", len(definitions), len(files))
	}
	for _, definition := range definitions {
		if definition.Annotations["helm.sh/resource-policy"] != "keep" {
			t.Errorf("uninstalling takes %s and every object of it away", definition.Name)
		}
	}
	for _, definition := range only[*apiextensionsv1.CustomResourceDefinition](render(t, "crds.keep=false")) {
		if _, kept := definition.Annotations["helm.sh/resource-policy"]; kept {
			t.Errorf("%s is kept against the value", definition.Name)
		}
	}
}
