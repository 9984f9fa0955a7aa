// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"
)

// monitored are the objects of the Prometheus operator, by their kind.
func monitored(objects []client.Object) map[string]*unstructured.Unstructured {
	out := map[string]*unstructured.Unstructured{}
	for _, o := range only[*unstructured.Unstructured](objects) {
		out[o.GetKind()] = o
	}
	return out
}

func TestNothingIsMonitoredUnlessSomebodyAsksForIt(t *testing.T) {
	objects := render(t)
	if found := monitored(objects); len(found) != 0 || len(only[*corev1.ConfigMap](objects)) != 0 {
		t.Errorf("by default there are %v and ConfigMaps %v", found, only[*corev1.ConfigMap](objects))
	}
}

func TestTheRulesThatAreInstalledAreThoseOfTheFile(t *testing.T) {
	installed := monitored(render(t, `monitoring.rules={"enabled":true,"labels":{"release":"prometheus"}}`))["PrometheusRule"]
	if installed == nil || installed.GetLabels()["release"] != "prometheus" || installed.GetNamespace() != namespace {
		t.Fatalf("installed is %v", installed)
	}
	text, err := os.ReadFile(repository + "/charts/trellis/files/monitoring/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]any
	if err := yaml.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(installed.Object["spec"], want) {
		t.Errorf("installed are\n%v\nand the file has\n%v", installed.Object["spec"], want)
	}
}

func TestGrafanaFindsADashboardForEachRole(t *testing.T) {
	var found []string
	for _, c := range only[*corev1.ConfigMap](render(t, `monitoring.dashboards.enabled=true`)) {
		if c.Labels["grafana_dashboard"] != "1" || len(c.Data) != 1 {
			t.Errorf("%s has the labels %v and %d files", c.Name, c.Labels, len(c.Data))
		}
		for name, text := range c.Data {
			var dashboard struct {
				UID    string `json:"uid"`
				Panels []any  `json:"panels"`
			}
			if err := json.Unmarshal([]byte(text), &dashboard); err != nil || len(dashboard.Panels) < 8 {
				t.Errorf("%s: %d panels, %v", name, len(dashboard.Panels), err)
			}
			// Another Grafana has data sources of other ids.
			if uids := strings.Count(text, `"uid": `) - 1; uids < len(dashboard.Panels) || uids != strings.Count(text, `"uid": "${datasource}"`) {
				t.Errorf("%s has %d ids of data sources, and not all are the viewer's choice", name, uids)
			}
			found = append(found, dashboard.UID+" "+name)
		}
	}
	slices.Sort(found)
	if want := []string{
		"trellis-application-developer trellis-application-developer.json", "trellis-platform-operator trellis-platform-operator.json",
		"trellis-security-officer trellis-security-officer.json",
	}; !slices.Equal(found, want) {
		t.Errorf("found are %q", found)
	}
}

func TestBothProgramsAreScrapedAndKeepTheirOwnLabels(t *testing.T) {
	objects := render(t, withServer, `monitoring.podMonitor={"enabled":true,"interval":"15s"}`)
	monitor := monitored(objects)["PodMonitor"]
	if monitor == nil {
		t.Fatal("nobody scrapes")
	}
	text, err := json.Marshal(monitor.Object["spec"])
	const want = `{"podMetricsEndpoints":[{"honorLabels":true,"interval":"15s","port":"metrics"}],"selector":{"matchLabels":{"app.kubernetes.io/name":"trellis"}}}`
	if err != nil || string(text) != want {
		t.Errorf("it is %s, %v", text, err)
	}
}
