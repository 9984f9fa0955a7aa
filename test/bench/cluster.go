// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	networkingv1 "istio.io/client-go/pkg/apis/networking/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/trellis-mesh/trellis/internal/load"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/test/stack"
)

// snapshotOf joins what a cluster holds with what somebody stated in YAML.
func snapshotOf(ctx context.Context, s *stack.Stack, stated string) (*model.Snapshot, error) {
	scheme := runtime.NewScheme()
	if err := load.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c, err := client.New(s.Config(), client.Options{Scheme: scheme})
	if err != nil {
		return nil, err
	}
	b := load.NewBuilder(model.DefaultMesh())
	for _, list := range []client.ObjectList{
		&corev1.NamespaceList{}, &corev1.ServiceList{}, &corev1.PodList{}, &corev1.SecretList{}, &networkingv1.WorkloadEntryList{},
	} {
		if err := c.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing %T, %w", list, err)
		}
		if err := meta.EachListItem(list, func(o runtime.Object) error { b.Add(o); return nil }); err != nil {
			return nil, err
		}
	}
	decoder := serializer.NewCodecFactory(scheme).UniversalDeserializer()
	err = eachDocument(stated, func(document []byte) error {
		o, _, err := decoder.Decode(document, nil, nil)
		if err == nil {
			b.Add(o)
		}
		return err
	})
	return model.NewSnapshot(b.Input()), err
}

func eachDocument(stream string, do func([]byte) error) error {
	reader := yaml.NewYAMLReader(bufio.NewReader(strings.NewReader(stream)))
	for {
		document, err := reader.Read()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(bytes.TrimSpace(document)) == 0:
			continue
		}
		if err := do(document); err != nil {
			return err
		}
	}
}

// remove deletes the objects of a stream; what is not there is fine.
func remove(ctx context.Context, s *stack.Stack, stream string) error {
	return eachDocument(stream, func(document []byte) error {
		var o unstructured.Unstructured
		if err := yaml.Unmarshal(document, &o.Object); err != nil {
			return err
		}
		return client.IgnoreNotFound(s.Client().Delete(ctx, &o))
	})
}
