// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/mtls"
)

// checkOptions are the flags.
type checkOptions struct {
	live.Options
	Namespace, ClientNamespace string
	Conflicts                  bool
	Output                     string
	Verbose                    bool
}

func newCheck(s *streams.Streams) *cobra.Command {
	o := &checkOptions{}
	cmd := &cobra.Command{
		Use:   "check [CLIENT] [SERVICE[:PORT]]",
		Short: "Compare what clients send with what services take",
		Long: `check prints a line for each client and each port of a service, and for each subset
of it: what the server's proxies take (SERVER), what the client's proxy sends (CLIENT),
and whether that goes together (STATUS):

  OK        every endpoint takes what it is sent
  CONFLICT  no endpoint does: requests fail
  PARTIAL   some endpoints do and others do not
  UNKNOWN   it depends on something that is not known, and -v says on what

A star (OK*) marks what is computed and not proven: a ztunnel, or HBONE, has part in it,
and no test holds that to what real ones do.

AUTHN POLICY is the PeerAuthentication that decides what the server takes, and
DESTINATION RULE the one that shapes what the client sends, both as NAME/NAMESPACE.

CLIENT is the NAMESPACE/NAME of a Service, a pod or a ServiceAccount, a gateway
included; workloads without a proxy are clients, too. SERVICE is NAMESPACE/NAME or a
host. Without them every client is compared with every service; "-" in the place of
CLIENT is every client.

The exit code is 2 where there is a CONFLICT or PARTIAL, 3 where nothing worse than
UNKNOWN is or a document cannot be read, and 0 where all is OK; a star changes none of
them. Hosts outside of the mesh do not count: nobody knows what they take.`,
		Example: `  # Who gets on with whom?
  trellis mtls check -f examples/bookinfo

  # One client and one service
  trellis mtls check -f examples/bookinfo bookinfo/productpage bookinfo/reviews

  # In the running mesh: whatever does not go together, for a pipeline
  trellis mtls check --context prod --conflicts -o json

  # Every client of a service
  trellis mtls check -f examples/bookinfo - bookinfo/reviews:9080`,
		Args: cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.Namespace, "namespace", "n", "", "only services of this namespace")
	cmd.Flags().StringVar(&o.ClientNamespace, "client-namespace", "", "only clients of this namespace")
	cmd.Flags().BoolVar(&o.Conflicts, "conflicts", false, "only what is in conflict, or partly")
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "say for each line why, and what holds for each kind of endpoint")
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *checkOptions) run(cmd *cobra.Command, s *streams.Streams, args []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	wanted, err := read(args)
	if err != nil {
		return err
	}
	switch {
	case wanted.client != nil && o.ClientNamespace != "":
		return errors.New("reading --client-namespace: CLIENT says which client already; give one of them")
	case wanted.service != "" && o.Namespace != "":
		return errors.New("reading --namespace: SERVICE says which service already; give one of them")
	}
	return asked(cmd, s, &o.Options, func(m *mesh.Mesh) (*answer.MutualTLS, error) { return o.check(m, wanted) }, reply[*answer.MutualTLS]{
		format:  o.Output,
		text:    func(v *answer.MutualTLS, w io.Writer) error { return o.text(w, v, s.OutColour) },
		verdict: func(v *answer.MutualTLS) error { return verdict(v.Rows) },
	})
}

// question is what the arguments ask for.
type question struct {
	client  *ask.WorkloadRef
	service string
	port    uint16
}

func read(args []string) (question, error) {
	var out question
	if len(args) > 0 && args[0] != "-" {
		namespace, name, ok := strings.Cut(args[0], "/")
		if !ok || namespace == "" || name == "" {
			return out, fmt.Errorf("reading CLIENT: %q is not NAMESPACE/NAME, such as shop/cart; - is every client", args[0])
		}
		out.client = &ask.WorkloadRef{Namespace: namespace, Name: name}
	}
	if len(args) > 1 {
		var number string
		var ok bool
		if out.service, number, ok = strings.Cut(args[1], ":"); ok {
			port, err := strconv.ParseUint(number, 10, 16)
			if err != nil || port == 0 {
				return out, fmt.Errorf("reading SERVICE: %q is no port; it is NAMESPACE/NAME or a host, with :PORT for one port of it", number)
			}
			out.port = uint16(port)
		}
		if out.service == "" {
			return out, errors.New("reading SERVICE: it is NAMESPACE/NAME or a host, with :PORT for one port of it")
		}
	}
	return out, nil
}

// readPair reads arguments that name one client.
func readPair(args []string) (question, error) {
	q, err := read(args)
	if err == nil && q.client == nil {
		err = errors.New("reading CLIENT: name one client, as NAMESPACE/NAME")
	}
	return q, err
}

// pair are the client and the target of a question that names both.
func (q question) pair(c *mtls.Checker) (mtls.Client, mtls.Target, error) {
	client, err := c.Client(*q.client)
	if err != nil {
		return client, mtls.Target{}, err
	}
	target, err := c.Target(q.service, q.port)
	return client, target, err
}

func (o *checkOptions) check(m *mesh.Mesh, q question) (*answer.MutualTLS, error) {
	policies, known := m.Policies()
	c := mtls.New(m.World, policies)
	clients, err := o.clients(c, q)
	if err != nil {
		return nil, err
	}
	targets, err := o.targets(c, q)
	if err != nil {
		return nil, err
	}
	view := &answer.MutualTLS{Rows: []mtls.Row{}, Notes: m.Missing(), Source: m.From}
	if !known {
		view.Notes = append(view.Notes, mesh.PoliciesUnknown)
	}
	for _, r := range c.CheckAll(clients, targets) {
		if !o.Conflicts || r.Status.Fails() {
			view.Rows = append(view.Rows, r)
		}
	}
	return view, nil
}

func (o *checkOptions) clients(c *mtls.Checker, q question) ([]mtls.Client, error) {
	if q.client != nil {
		one, err := c.Client(*q.client)
		return []mtls.Client{one}, err
	}
	return clientsIn(c, o.ClientNamespace)
}

// clientsIn are those of --client-namespace; empty: all.
func clientsIn(c *mtls.Checker, namespace string) ([]mtls.Client, error) {
	out := c.ClientsIn(namespace)
	if len(out) == 0 && namespace != "" {
		return nil, fmt.Errorf("reading --client-namespace: there is no workload in namespace %s", namespace)
	}
	return out, nil
}

func (o *checkOptions) targets(c *mtls.Checker, q question) ([]mtls.Target, error) {
	if q.service != "" {
		one, err := c.Target(q.service, q.port)
		return []mtls.Target{one}, err
	}
	return targetsIn(c, o.Namespace)
}

// targetsIn are those of --namespace; empty: all.
func targetsIn(c *mtls.Checker, namespace string) ([]mtls.Target, error) {
	out := c.TargetsIn(namespace)
	if len(out) == 0 && namespace != "" {
		return nil, fmt.Errorf("reading --namespace: there is no service in namespace %s", namespace)
	}
	return out, nil
}

// verdict is the exit code.
func verdict(rows []mtls.Row) error {
	var unknown error
	for i := range rows {
		switch r := &rows[i]; r.Status {
		case mtls.Conflict, mtls.Partial:
			return exit.ErrFindings
		case mtls.Unknown:
			if !r.Outside {
				unknown = exit.ErrUnknown
			}
		case mtls.OK:
		}
	}
	return unknown
}

var moods = map[mtls.Status]output.Mood{mtls.Conflict: output.Alarming, mtls.Partial: output.Alarming, mtls.Unknown: output.Waiting}

func (o *checkOptions) text(w io.Writer, v *answer.MutualTLS, colour bool) error {
	var b strings.Builder
	several := slices.ContainsFunc(v.Rows, func(r mtls.Row) bool { return r.Client != v.Rows[0].Client })
	header := []string{"HOST:PORT", "STATUS", "SERVER", "CLIENT", "AUTHN POLICY", "DESTINATION RULE"}
	if several {
		header = append([]string{"FROM"}, header...)
	}
	var rows []output.Row
	for i := range v.Rows {
		r := &v.Rows[i]
		cells := []string{r.Address(), r.Mark(), r.Server(), r.Sent(), strings.Join(r.PeerAuthentications, ","), r.DestinationRule}
		if several {
			cells = append([]string{r.Client}, cells...)
		}
		rows = append(rows, output.Row{Mood: moods[r.Status], Cells: cells})
	}
	if len(rows) == 0 {
		b.WriteString("nothing is in conflict\n")
		if !o.Conflicts {
			b.Reset()
			b.WriteString("there is nothing to compare\n")
		}
	} else if err := output.Table(&b, header, rows, colour); err != nil {
		return err
	}
	if o.Verbose {
		for i := range v.Rows {
			long(&b, &v.Rows[i])
		}
	}
	starred(&b, v.Rows)
	output.Notes(&b, v.Notes)
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

// starred says what a mark means, where there is one.
func starred(b *strings.Builder, rows []mtls.Row) {
	if mtls.AnyUnproven(rows) {
		b.WriteString(mtls.Starred + "\n")
	}
}

// long says why, where there is something to say.
func long(b *strings.Builder, r *mtls.Row) {
	if r.Why == "" && len(r.Endpoints) == 0 {
		return
	}
	fmt.Fprintf(b, "\n%s to %s: %s\n", r.Client, r.Address(), r.Mark())
	if len(r.Endpoints) == 0 {
		fmt.Fprintf(b, "  %s%s\n", r.Why, got(r.Code, r.Flags))
		return
	}
	for i := range r.Endpoints {
		e := &r.Endpoints[i]
		fmt.Fprintf(b, "  %s %s", e.Mark(), output.Short(e.Addresses, 3))
		if len(e.Workloads) > 0 {
			fmt.Fprintf(b, " (%s)", output.Short(e.Workloads, 3))
		}
		if e.Why != "" {
			fmt.Fprintf(b, ": %s%s", e.Why, got(e.Code, e.Flags))
		}
		b.WriteString("\n")
	}
}

// got is what the client gets, and what its proxy logs.
func got(code int, flags []string) string {
	if len(flags) == 0 {
		return ""
	}
	if code == 0 {
		return fmt.Sprintf("; the client's proxy logs %s", strings.Join(flags, ","))
	}
	return fmt.Sprintf("; the client gets %d, and its proxy logs %s", code, strings.Join(flags, ","))
}
