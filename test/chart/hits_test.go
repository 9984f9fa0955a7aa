// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	telemetryv1 "istio.io/client-go/pkg/apis/telemetry/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/docs"
)

// counted are values with which requests are counted.
var counted = []string{withServer, "server.collector.enabled=true", "server.hits.enabled=true"}

func serverOf(t *testing.T, values ...string) *appsv1.Deployment {
	t.Helper()
	deployments := only[*appsv1.Deployment](render(t, values...))
	at := slices.IndexFunc(deployments, func(d *appsv1.Deployment) bool { return d.Name == "trellis-server" })
	if at < 0 {
		t.Fatal("there is no server")
	}
	return deployments[at]
}

func TestCountsAreKeptWhereSomebodyAskedForIt(t *testing.T) {
	const dir = "--hits-dir=/var/lib/trellis/hits"
	for _, c := range []struct {
		name      string
		values    []string
		arguments []string
		claim     string
		volumes   int
		strategy  appsv1.DeploymentStrategyType
	}{
		{"nobody asked", []string{"server.collector.enabled=true"}, nil, "", 0, ""},
		{"with the pod", []string{}, []string{dir, "--hits-keep=720h", "--hits-bytes=268435456"}, "", 1, ""},
		{"in a claim", []string{"server.hits.persistence.enabled=true", `server.hits.keep="48h"`, "server.hits.bytes=1048576"}, []string{dir, "--hits-keep=48h", "--hits-bytes=1048576"}, "trellis-hits", 1, appsv1.RecreateDeploymentStrategyType},
		{"in somebody's claim", []string{"server.hits.persistence.enabled=true", `server.hits.persistence.existingClaim="mine"`}, []string{dir, "--hits-keep=720h", "--hits-bytes=268435456"}, "mine", 1, appsv1.RecreateDeploymentStrategyType},
		{"at a server", []string{`server.hits.remote.url="http://prometheus:9090"`, `server.hits.remote.writeUrl="http://prometheus:9090/api/v1/push"`, "server.replicas=3"},
			[]string{"--hits-remote-url=http://prometheus:9090", "--hits-remote-write-url=http://prometheus:9090/api/v1/push", "--hits-collector=$(POD_NAME)"}, "", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			values := append(slices.Clone(counted), c.values...)
			if c.arguments == nil {
				values = append([]string{withServer}, c.values...)
			}
			d := serverOf(t, values...)
			pod := d.Spec.Template.Spec
			var arguments []string
			for _, a := range pod.Containers[0].Args {
				if strings.HasPrefix(a, "--hits") {
					arguments = append(arguments, a)
				}
			}
			if !slices.Equal(arguments, c.arguments) || len(pod.Volumes) != c.volumes || len(pod.Containers[0].VolumeMounts) != c.volumes || d.Spec.Strategy.Type != c.strategy {
				t.Errorf("arguments %q, volumes %v, strategy %q", arguments, pod.Volumes, d.Spec.Strategy.Type)
			}
			claim := ""
			for _, v := range pod.Volumes {
				switch {
				case v.PersistentVolumeClaim != nil:
					claim = v.PersistentVolumeClaim.ClaimName
				case v.EmptyDir.SizeLimit.Value() != 2*268435456+128<<20:
					t.Errorf("the directory may have %s", v.EmptyDir.SizeLimit)
				}
			}
			made := only[*corev1.PersistentVolumeClaim](render(t, values...))
			if claim != c.claim || len(made) > 0 != (c.claim == "trellis-hits") {
				t.Errorf("it claims %q, and %d claims are made", claim, len(made))
			}
			// Nobody but root may write to a volume without it.
			if (pod.SecurityContext.FSGroup != nil) != (c.volumes > 0) {
				t.Errorf("the group of volumes is %v", pod.SecurityContext.FSGroup)
			}
			restricted(t, pod.Containers[0])
		})
	}
}

func TestEnvoysAccessLogServiceIsServedBesideOTLP(t *testing.T) {
	values := append(slices.Clone(counted), "server.collector.envoyPort=14318")
	d := serverOf(t, values...)
	if args := d.Spec.Template.Spec.Containers[0].Args; !slices.Contains(args, "--envoy-address=:14318") {
		t.Errorf("the arguments are %v", args)
	}
	for _, s := range only[*corev1.Service](render(t, values...)) {
		if s.Name == "trellis-server" && !slices.ContainsFunc(s.Spec.Ports, func(p corev1.ServicePort) bool {
			return p.Name == "grpc-als" && p.Port == 14318 && p.TargetPort.String() == "grpc-als" && *p.AppProtocol == "grpc"
		}) {
			t.Errorf("the Service has %v", s.Spec.Ports)
		}
	}
}

func TestCountsThatContradictThemselvesAreRefused(t *testing.T) {
	for _, c := range []struct {
		values []string
		want   string
	}{
		{[]string{withServer, "server.hits.enabled=true"}, "needs server.collector.enabled"},
		{append(slices.Clone(counted), "server.replicas=2"), "needs server.replicas: 1"},
		{append(slices.Clone(counted), "server.hits.persistence.enabled=true", `server.hits.remote.url="http://p:9090"`), "two places for the same counts"},
		{append(slices.Clone(counted), `server.hits.remote.writeUrl="http://p:9090/w"`), "needs server.hits.remote.url"},
		{[]string{withServer, "server.collector.telemetry=true"}, "send their entries to nobody"},
	} {
		if _, err := template(t, c.values...); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: the error is %v, want %q", c.values, err, c.want)
		}
	}
}

func TestTheTelemetryOfTheChartIsThatOfThePage(t *testing.T) {
	text, err := docs.Telemetry(docs.Hits)
	if err != nil {
		t.Fatal(err)
	}
	var want telemetryv1.Telemetry
	if err := yaml.UnmarshalStrict(text, &want); err != nil {
		t.Fatal(err)
	}
	got := theOnly[*telemetryv1.Telemetry](t, render(t, withServer, "server.collector.enabled=true", "server.collector.telemetry=true"))
	if got.Namespace != want.Namespace || len(want.Spec.GetAccessLogging()) != 1 || !proto.Equal(&got.Spec, &want.Spec) {
		t.Errorf("the chart has %s, want %s", &got.Spec, &want.Spec)
	}
	if more := only[*telemetryv1.Telemetry](render(t, withServer, "server.collector.enabled=true")); len(more) > 0 {
		t.Error("it is there though nobody asked for it")
	}
}
