// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package mtls

import (
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/mtls"
	"github.com/trellis-mesh/trellis/internal/mtls/graph"
)

// graphOptions are the flags.
type graphOptions struct {
	live.Options
	wanted graph.Options
	Output string
}

// graphFormats are the names that -o takes: those of others, and two that are drawn.
var graphFormats = append(slices.Clone(output.Formats), "svg", "dot")

func newGraph(s *streams.Streams) *cobra.Command {
	o := &graphOptions{}
	cmd := &cobra.Command{
		Use:   "graph",
		Short: "Draw who may use which service, and how that is secured",
		Long: `graph shows the services of the mesh, and an edge from each client that may use one.
A client may use a service if its proxy leads it there and the server's proxy lets it
in, by the configuration that both are sent:

  ByRoute    a gateway has a route that ends at the service
  ByName     the server's rules, which come from Applications and AuthorizationPolicies,
             tell the client apart by its identity, and let it in
  AsAnybody  they let in whoever comes. All clients that a service does not tell apart
             are drawn as one, "any workload", but those in conflict, which are drawn on
             their own; clients without a proxy are another

What a Sidecar or exportTo keeps from a client is no edge, nor is what it sends to
itself, if there is no conflict. With --all there is an edge from every client to every
service, as check has lines.

STATUS is the worst of the edge's ports, as in check. SECURITY is what the clients send:
MutualTLS, Plaintext, TLS that is not the mesh's (also of applications), Mixed, or Unknown.

-o svg is a picture that needs no other program; -o dot is for Graphviz; -o json and yaml
are for programs: "nodes" with id, namespace, name, kind (Service, Workload, Gateway,
Outside or Anybody) and unproxied, and "edges" with from, to, ports, status, security,
reason and clients, which are those that "any workload" stands for. Fields are added, and
never change their meaning.

The exit code says nothing of conflicts: for that there is check. It is 3 where a
document cannot be read.`,
		Example: `  # Who may use whom?
  trellis mtls graph -f examples/bookinfo

  # A picture
  trellis mtls graph -f examples/bookinfo -o svg > graph.svg

  # What is in conflict in the running mesh, for a program
  trellis mtls graph --context prod --conflicts -o json

  # Every client of a namespace's services
  trellis mtls graph -f examples/bookinfo -n bookinfo --all`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return o.run(cmd, s) },
	}
	o.AddFlags(cmd)
	cmd.Flags().StringVarP(&o.wanted.Namespace, "namespace", "n", "", "only services of this namespace")
	cmd.Flags().StringVar(&o.wanted.ClientNamespace, "client-namespace", "", "only clients of this namespace")
	cmd.Flags().BoolVar(&o.wanted.Conflicts, "conflicts", false, "only what is in conflict, or partly")
	cmd.Flags().BoolVar(&o.wanted.All, "all", false, "every client and every service, whether the one may use the other or not")
	cmd.Flags().StringVarP(&o.Output, "output", "o", "text", "format: "+strings.Join(graphFormats, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(slices.Clone(graphFormats), cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (o *graphOptions) run(cmd *cobra.Command, s *streams.Streams) error {
	if !slices.Contains(graphFormats, o.Output) {
		return fmt.Errorf("reading -o: %q is none of %s", o.Output, strings.Join(graphFormats, ", "))
	}
	return asked(cmd, s, &o.Options, o.look, reply[*answer.Graph]{
		format: o.Output,
		text: func(v *answer.Graph, w io.Writer) error {
			switch o.Output {
			case "svg":
				return o.picture(v).SVG(w)
			case "dot":
				return o.picture(v).DOT(w)
			}
			return o.text(w, v, s.OutColour)
		},
		verdict: func(*answer.Graph) error { return nil },
	})
}

func (o *graphOptions) look(m *mesh.Mesh) (*answer.Graph, error) {
	policies, known := m.Policies()
	c := mtls.New(m.World, policies)
	if err := o.named(c); err != nil {
		return nil, err
	}
	view := &answer.Graph{Notes: m.Missing(), Source: m.From}
	if !known {
		view.Notes = append(view.Notes, mesh.PoliciesUnknown)
	}
	found, notes := graph.Of(c, o.wanted)
	view.Graph, view.Notes = found, append(view.Notes, notes...)
	return view, nil
}

// named refuses namespaces in which there is nothing: most of them are misspelt.
func (o *graphOptions) named(c *mtls.Checker) error {
	if _, err := clientsIn(c, o.wanted.ClientNamespace); err != nil {
		return err
	}
	_, err := targetsIn(c, o.wanted.Namespace)
	return err
}

func (o *graphOptions) text(w io.Writer, v *answer.Graph, colour bool) error {
	var b strings.Builder
	nodes := byID(v)
	var rows []output.Row
	for i := range v.Edges {
		e := &v.Edges[i]
		rows = append(rows, output.Row{Mood: moods[e.Status], Cells: []string{
			nodes[e.From].String(), nodes[e.To].String(), portsOf(e), markOf(e), string(e.Security), string(e.Reason), whyOf(e),
		}})
	}
	if len(rows) > 0 {
		if err := output.Table(&b, []string{"FROM", "TO", "PORTS", "STATUS", "SECURITY", "REASON", "WHY"}, rows, colour); err != nil {
			return err
		}
	} else if o.wanted.Conflicts {
		b.WriteString("nothing is in conflict\n")
	} else {
		b.WriteString("there is nobody who may use a service\n")
	}
	if slices.ContainsFunc(v.Edges, func(e graph.Edge) bool { return strings.HasSuffix(markOf(&e), mtls.Star) }) {
		b.WriteString(mtls.Starred + "\n")
	}
	output.Notes(&b, v.Notes)
	output.Source(&b, v.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

func byID(v *answer.Graph) map[string]*graph.Node {
	out := map[string]*graph.Node{}
	for i := range v.Nodes {
		out[v.Nodes[i].ID] = &v.Nodes[i]
	}
	return out
}

// markOf is the status of an edge, with a star where that of a port is not proven.
func markOf(e *graph.Edge) string {
	if e.Status != mtls.Unknown && slices.ContainsFunc(e.Ports, func(p graph.Port) bool { return p.Unproven != "" }) {
		return string(e.Status) + mtls.Star
	}
	return string(e.Status)
}

// portsOf are an edge's ports, each once.
func portsOf(e *graph.Edge) string {
	var out []string
	for i := range e.Ports {
		if number := strconv.Itoa(int(e.Ports[i].Port)); !slices.Contains(out, number) {
			out = append(out, number)
		}
	}
	return output.Short(out, 4)
}

// whyOf is what is said of the worst port.
func whyOf(e *graph.Edge) string {
	for i := range e.Ports {
		if e.Ports[i].Status == e.Status {
			return e.Ports[i].Why
		}
	}
	return ""
}
