// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package cluster is how commands find a cluster and talk to it: by the
// kubeconfig that kubectl would use, with the rights of whoever runs the command.
package cluster

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	// Kubeconfigs may name a login by OpenID Connect, as kubectl knows it.
	_ "k8s.io/client-go/plugin/pkg/client/auth/oidc"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/model/delegation"
	"github.com/trellis-mesh/trellis/internal/version"
)

const (
	// timeout is for one request.
	timeout = 30 * time.Second
	// pageSize bounds one answer of the API server.
	pageSize = 500
	// completionTimeout is how long somebody who presses Tab waits.
	completionTimeout = 3 * time.Second
)

// Options say which cluster, and what of it.
type Options struct {
	// Kubeconfig is a file; empty: as kubectl finds it.
	Kubeconfig string
	// Context is one of the file's; empty: its current one.
	Context string
	// Namespace; empty: the context's.
	Namespace string
	// AllNamespaces wins over Namespace.
	AllNamespaces bool
	// Waiting gets a line while the cluster lets people wait, which is wiped off
	// again: a terminal. Nil: nobody looks.
	Waiting io.Writer
}

// AddFlags registers the flags that say which cluster and namespace.
// People who wait at a terminal are told what for.
func (o *Options) AddFlags(cmd *cobra.Command, s *streams.Streams) {
	if s.ErrTerminal {
		o.Waiting = s.Err
	}
	o.AddContextFlags(cmd)
	flags := cmd.Flags()
	flags.StringVarP(&o.Namespace, "namespace", "n", "", "namespace (default: the context's)")
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("namespace", o.completeNamespaces)
}

// AddContextFlags registers the flags that say which cluster.
func (o *Options) AddContextFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&o.Kubeconfig, "kubeconfig", "", "kubeconfig file (default: $KUBECONFIG, or ~/.kube/config)")
	flags.StringVar(&o.Context, "context", "", "context of the kubeconfig (default: its current one)")
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("context", o.completeContexts)
}

// AddAllNamespaces registers the flag for commands that read.
func (o *Options) AddAllNamespaces(cmd *cobra.Command) {
	cmd.Flags().BoolVarP(&o.AllNamespaces, "all-namespaces", "A", false, "all namespaces")
}

// Cluster is a cluster that was found. Nothing has been asked of it yet.
type Cluster struct {
	client.Client
	// Namespace is what the command is about; empty for all.
	Namespace string

	config *rest.Config
	// copied: what is read is a copy in memory, which has no pages.
	copied bool
}

// Connect finds the cluster. It makes no call.
func (o *Options) Connect() (*Cluster, error) {
	loader := o.loader()
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, found(err)
	}
	config, err := o.Config()
	if err != nil {
		return nil, err
	}
	if o.Waiting != nil {
		config.Wrap(func(next http.RoundTripper) http.RoundTripper { return &progress{next: next, out: o.Waiting} })
	}
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return nil, fmt.Errorf("knowing our own kinds: %w", err)
	}
	c, err := client.New(config, client.Options{Scheme: scheme, Mapper: mapper()})
	if err != nil {
		return nil, found(err)
	}
	if o.AllNamespaces {
		namespace = ""
	}
	return &Cluster{Client: c, Namespace: namespace, config: config}, nil
}

// Config is how the cluster is reached. It makes no call.
func (o *Options) Config() (*rest.Config, error) {
	config, err := o.loader().ClientConfig()
	if err != nil {
		return nil, found(err)
	}
	config.Timeout, config.UserAgent = timeout, "trellis/"+version.String()
	// One command makes no more requests than it needs: there is nothing to slow down.
	config.QPS = -1
	return config, nil
}

func (o *Options) loader() clientcmd.ClientConfig {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = o.Kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: o.Context}
	overrides.Context.Namespace = o.Namespace
	return clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
}

// found says what to do where there is no kubeconfig.
func found(err error) error {
	if clientcmd.IsEmptyConfig(err) {
		return errors.New("finding the cluster: there is no kubeconfig: name one with --kubeconfig, or set KUBECONFIG")
	}
	return fmt.Errorf("finding the cluster: %w", err)
}

// mapper spares the cluster the question which kinds it has.
func mapper() meta.RESTMapper {
	m := meta.NewDefaultRESTMapper(nil)
	for _, kind := range []string{"DNSProvider", "ManagedRecord", "ManagedCertificate", "PolicyBinding", "PolicyException"} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeNamespace)
		// A copy of some namespaces asks of lists where they belong.
		m.Add(v1alpha1.GroupVersion.WithKind(kind+"List"), meta.RESTScopeNamespace)
	}
	for _, kind := range []schema.GroupVersionKind{delegation.CertificateKind, delegation.EndpointKind} {
		m.Add(kind, meta.RESTScopeNamespace)
	}
	m.Add(corev1.SchemeGroupVersion.WithKind("Namespace"), meta.RESTScopeRoot)
	for _, kind := range []string{"MutualTLSRollout", "Goal", "PolicyTemplate", "ClusterPolicyBinding"} {
		m.Add(v1alpha1.GroupVersion.WithKind(kind), meta.RESTScopeRoot)
		m.Add(v1alpha1.GroupVersion.WithKind(kind+"List"), meta.RESTScopeRoot)
	}
	return m
}

// Each lists what is in the command's namespaces, page by page, and gives every
// object to visit.
func Each[L client.ObjectList](ctx context.Context, c *Cluster, list L, visit func(client.Object)) error {
	for {
		more := list.GetContinue()
		options := []client.ListOption{client.InNamespace(c.Namespace), client.Limit(pageSize), client.Continue(more)}
		if c.copied {
			options = options[:1]
		}
		if err := c.List(ctx, list, options...); err != nil {
			return Problem("listing what is there", err)
		}
		err := meta.EachListItem(list, func(o runtime.Object) error {
			if object, ok := o.(client.Object); ok {
				visit(object)
			}
			return nil
		})
		if err != nil || c.copied || list.GetContinue() == "" {
			return err
		}
	}
}

// Problem is an error of the API server for people.
func Problem(doing string, err error) error {
	if apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, "UnexpectedServerResponse") || meta.IsNoMatchError(err) {
		return fmt.Errorf("%s: the cluster does not know Trellis's kinds: is Trellis installed there, and new enough?", doing)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Where names the namespaces of a command, for people.
func (c *Cluster) Where() string {
	if c.Namespace == "" {
		return "in the cluster"
	}
	return "in the namespace " + c.Namespace
}

func (o *Options) completeContexts(*cobra.Command, []string, string) ([]cobra.Completion, cobra.ShellCompDirective) {
	raw, err := o.loader().RawConfig()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for name := range raw.Contexts {
		names = append(names, name)
	}
	slices.Sort(names)
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (o *Options) completeNamespaces(cmd *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	return o.complete(cmd, &corev1.NamespaceList{}, func(object client.Object) []string { return []string{object.GetName()} })
}

// Complete is a completion function for the first argument of a command: what
// words gives for each object of a list.
func (o *Options) Complete(list client.ObjectList, words func(client.Object) []string) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return o.complete(cmd, list, words)
	}
}

func (o *Options) complete(cmd *cobra.Command, list client.ObjectList, words func(client.Object) []string) ([]cobra.Completion, cobra.ShellCompDirective) {
	c, err := o.Connect()
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if _, ok := list.(*corev1.NamespaceList); ok {
		c.Namespace = ""
	}
	ctx := cmd.Context()
	if ctx == nil {
		ctx = context.Background()
	}
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	var out []string
	if err := Each(ctx, c, list, func(object client.Object) { out = append(out, words(object)...) }); err != nil {
		// A shell shows nothing of it; the command itself will.
		cobra.CompDebugln(err.Error(), false)
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	slices.Sort(out)
	return slices.Compact(out), cobra.ShellCompDirectiveNoFileComp
}
