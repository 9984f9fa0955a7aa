// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/config/crd"
)

// tokenLife is long enough for a demo that nobody stops: nothing renews the
// tokens that the stack hands out.
const tokenLife = 30 * 24 * time.Hour

// Namespace makes a namespace. One that exists gets the labels.
func (s *Stack) Namespace(ctx context.Context, name string, labels map[string]string) error {
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	err := s.client.Create(ctx, namespace)
	if apierrors.IsAlreadyExists(err) && len(labels) > 0 {
		patch := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		base := patch.DeepCopy()
		patch.Labels = labels
		err = s.client.Patch(ctx, patch, client.MergeFrom(base))
	}
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the namespace %s: %w", name, err)
	}
	return nil
}

// Apply applies the objects of a YAML or JSON stream server-side, in order,
// taking over fields that others own.
func (s *Stack) Apply(ctx context.Context, manifest []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading a manifest: %w", err)
		}
		if len(object.Object) == 0 {
			continue
		}
		apply := client.ApplyConfigurationFromUnstructured(object)
		if err := s.client.Apply(ctx, apply, client.FieldOwner("stack"), client.ForceOwnership); err != nil {
			return fmt.Errorf("applying %s %s/%s: %w", object.GetKind(), object.GetNamespace(), object.GetName(), err)
		}
	}
}

// InstallTrellisCRDs makes the definitions of Trellis's own kinds.
func (s *Stack) InstallTrellisCRDs(ctx context.Context) error {
	files, err := crd.Files.ReadDir(".")
	if err != nil {
		return fmt.Errorf("reading Trellis's CRDs: %w", err)
	}
	for _, f := range files {
		manifest, err := crd.Files.ReadFile(f.Name())
		if err != nil {
			return fmt.Errorf("reading Trellis's CRDs: %w", err)
		}
		if err := s.InstallCRDs(ctx, manifest); err != nil {
			return err
		}
	}
	return nil
}

// InstallCRDs makes the custom resource definitions of a YAML stream and waits
// until the API server serves them. Other kinds in the stream are an error.
func (s *Stack) InstallCRDs(ctx context.Context, manifest []byte) error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifest), 4096)
	var all []*apiextensionsv1.CustomResourceDefinition
	for {
		crd := &apiextensionsv1.CustomResourceDefinition{}
		err := decoder.Decode(crd)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("reading custom resource definitions: %w", err)
		}
		if crd.Name == "" {
			continue
		}
		if crd.Kind != "CustomResourceDefinition" {
			return fmt.Errorf("reading custom resource definitions: %s is a %s", crd.Name, crd.Kind)
		}
		if err := s.client.Create(ctx, crd); err != nil && !apierrors.IsAlreadyExists(err) {
			return fmt.Errorf("making the definition %s: %w", crd.Name, err)
		}
		all = append(all, crd)
	}
	for _, crd := range all {
		err := Until(ctx, crd.Name+" to be served", func(ctx context.Context) error {
			return s.established(ctx, crd)
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Stack) established(ctx context.Context, crd *apiextensionsv1.CustomResourceDefinition) error {
	if err := s.client.Get(ctx, client.ObjectKeyFromObject(crd), crd); err != nil {
		return err
	}
	for _, condition := range crd.Status.Conditions {
		if condition.Type == apiextensionsv1.Established && condition.Status == apiextensionsv1.ConditionTrue {
			return nil
		}
	}
	return errors.New("not established")
}

// ServiceAccountConfig returns a client configuration with a token of the
// service account, which it makes if there is none. What the account may do is
// decided by RBAC alone.
func (s *Stack) ServiceAccountConfig(ctx context.Context, namespace, name string) (*rest.Config, error) {
	if err := s.serviceAccount(ctx, namespace, name); err != nil {
		return nil, err
	}
	token, err := s.token(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	config := rest.AnonymousClientConfig(s.config)
	config.BearerToken = token
	return config, nil
}

func (s *Stack) serviceAccount(ctx context.Context, namespace, name string) error {
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	if err := s.client.Create(ctx, account); err != nil && !apierrors.IsAlreadyExists(err) {
		return fmt.Errorf("making the service account %s/%s: %w", namespace, name, err)
	}
	return nil
}

// token asks the API server for a token of a service account; without audiences
// it is good for the API server itself.
func (s *Stack) token(ctx context.Context, namespace, name string, audiences ...string) (string, error) {
	seconds := int64(tokenLife.Seconds())
	request := &authenticationv1.TokenRequest{
		Spec: authenticationv1.TokenRequestSpec{Audiences: audiences, ExpirationSeconds: &seconds},
	}
	answer, err := s.clientset.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name, request, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token of %s/%s: %w", namespace, name, err)
	}
	return answer.Status.Token, nil
}

// runningPod makes a Pod object as the kubelet would report it: bound to a
// node, running, with an address. Nothing runs it; the stack does.
func (s *Stack) runningPod(ctx context.Context, pod *corev1.Pod, address string, ready bool) error {
	pod.Spec.NodeName = "local"
	if len(pod.Spec.Containers) == 0 {
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "local"}}
	}
	if err := s.client.Create(ctx, pod); err != nil {
		return fmt.Errorf("making the pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	pod.Status.PodIP, pod.Status.PodIPs = address, []corev1.PodIP{{IP: address}}
	return s.setPodReady(ctx, pod, ready)
}

func (s *Stack) setPodReady(ctx context.Context, pod *corev1.Pod, ready bool) error {
	status := corev1.ConditionFalse
	if ready {
		status = corev1.ConditionTrue
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
		{Type: corev1.PodInitialized, Status: corev1.ConditionTrue},
		{Type: corev1.ContainersReady, Status: status},
		{Type: corev1.PodReady, Status: status},
	}
	if err := s.client.Status().Update(ctx, pod); err != nil {
		return fmt.Errorf("setting the status of the pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	return nil
}
