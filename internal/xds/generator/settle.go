// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package generator

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	networkingv1 "istio.io/api/networking/v1alpha3"
	"istio.io/istio/pilot/pkg/model"
	pilotxds "istio.io/istio/pilot/test/xds"
	"istio.io/istio/pkg/config"
	"istio.io/istio/pkg/config/schema/gvk"
	"istio.io/istio/pkg/test"
	"istio.io/istio/pkg/test/util/retry"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// The last pod of all is one that nobody asks about. Istio's server says that it is
// ready before it has looked again at the EndpointSlices that came before their pods:
// accounts are missing in what it generates then. What comes into its queue behind all
// of that is the last pod.
const (
	lastNamespace = "trellis-last"
	lastName      = "last"
	lastHost      = "last.trellis.invalid"
	// lastAddress is of a block to which nobody sends (RFC 6666).
	lastAddress = "100::1"
)

var lastLabels = map[string]string{"trellis.io/last": "true"}

// settled waits until a server has worked on all of its objects.
func settled(ctx context.Context, t test.Failer, s *pilotxds.FakeDiscoveryServer, in *gathered) {
	seen := make(chan struct{})
	var once sync.Once
	s.KubeRegistry.AppendWorkloadHandler(func(w *model.WorkloadInstance, _ model.Event) {
		if w.Namespace == lastNamespace && w.Name == lastName {
			once.Do(func() { close(seen) })
		}
	})
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: lastNamespace, Name: lastName, Labels: lastLabels},
		Status: corev1.PodStatus{
			Phase: corev1.PodRunning, PodIP: lastAddress, PodIPs: []corev1.PodIP{{IP: lastAddress}},
			Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}},
		},
	}
	if _, err := s.KubeClient().Kube().CoreV1().Pods(lastNamespace).Create(ctx, pod, metav1.CreateOptions{}); err != nil {
		t.Fatal(fmt.Sprintf("keeping the last pod: %v", err))
	}
	select {
	case <-seen:
	case <-ctx.Done():
		t.Fatal(ctx.Err())
	}
	if selectsPods(in.configs) {
		retry.UntilOrFail(t, func() bool {
			shards, ok := s.Env().EndpointIndex.ShardsForService(lastHost, lastNamespace)
			return ok && len(shards.Keys()) > 0
		}, retry.Delay(time.Millisecond))
	}
	s.EnsureSynced(t)
}

// selectsPods reports whether there are ServiceEntries that take pods for endpoints.
// Istio keeps those apart, and does that work behind a pod's other.
func selectsPods(configs []config.Config) bool {
	return slices.ContainsFunc(configs, func(c config.Config) bool {
		entry, is := c.Spec.(*networkingv1.ServiceEntry)
		return is && entry.GetWorkloadSelector() != nil
	})
}

// withLast are objects, and where some select pods one that selects the last. Nobody
// sees it from another namespace.
func withLast(configs []config.Config) []config.Config {
	if !selectsPods(configs) {
		return configs
	}
	return append(slices.Clone(configs), config.Config{
		Meta: config.Meta{GroupVersionKind: gvk.ServiceEntry, Namespace: lastNamespace, Name: lastName},
		Spec: &networkingv1.ServiceEntry{
			Hosts: []string{lastHost}, ExportTo: []string{"."}, Resolution: networkingv1.ServiceEntry_STATIC,
			Ports:            []*networkingv1.ServicePort{{Number: 1, Name: "tcp", Protocol: "TCP"}},
			WorkloadSelector: &networkingv1.WorkloadSelector{Labels: lastLabels},
		},
	})
}
