// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package who is the verb "who": who can reach a workload, and what it can reach.
package who

import (
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/trellis-mesh/trellis/internal/ask"
	"github.com/trellis-mesh/trellis/internal/cli/live"
	"github.com/trellis-mesh/trellis/internal/cli/mesh"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// Options are the flags.
type Options struct {
	live.Options
	Reaches bool
	Output  string
	Verbose bool
}

// View is the answer as JSON and YAML have it.
type View struct {
	*ask.Reached
	// Source is where the configuration of the proxies came from; empty: from files.
	Source string `json:"source,omitempty"`
}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	o := &Options{}
	cmd := &cobra.Command{
		Use:   "who NAMESPACE/NAME[:PORT] [METHOD] [PATH]",
		Short: "Say who can reach a workload, or what it can reach",
		Long: `who finds all clients whose requests a workload's proxy lets in: workloads of the
mesh by their accounts, clients with a certificate that nobody has today, clients in
plaintext, and the internet by each host of a gateway; each with what it may ask for,
a request that shows it and the statement that lets it in.

With --reaches it finds what the workload can reach through its own proxy.

NAME is a Service, a pod or a ServiceAccount. A method and a path narrow the answer
to requests of that kind.`,
		Example: `  # Who can reach the reviews?
  trellis who -f examples/bookinfo bookinfo/reviews

  # Who may read this page, with a request for each line?
  trellis who -f examples/bookinfo bookinfo/productpage:9080 GET /productpage -v

  # In the running mesh
  trellis who --context prod bookinfo/reviews

  # What can the start page reach?
  trellis who -f examples/bookinfo --reaches bookinfo/productpage`,
		Args: cobra.RangeArgs(1, 3),
		RunE: func(cmd *cobra.Command, args []string) error { return o.run(cmd, s, args) },
	}
	o.AddFlags(cmd)
	cmd.Flags().BoolVar(&o.Reaches, "reaches", false, "turn the question around: what can it reach")
	cmd.Flags().BoolVarP(&o.Verbose, "verbose", "v", false, "show for each line the paths, a request and who stated it")
	output.AddFlag(cmd, &o.Output)
	return cmd
}

func (o *Options) run(cmd *cobra.Command, s *streams.Streams, args []string) error {
	if err := output.CheckFormat(o.Output); err != nil {
		return err
	}
	target, err := target(args)
	if err != nil {
		return err
	}
	if o.Reaches && (target.Port != 0 || target.Method != "" || target.Path != "") {
		return fmt.Errorf("reading --reaches: a port, method or path is of what is reached, and the question is who reaches it; give the workload only")
	}
	m, err := o.Open(cmd.Context(), s, time.Now())
	if err != nil {
		return err
	}
	var answer *ask.Reached
	if err = m.Complain(s.Err, s.ErrColour, mesh.Doubt{}); err == nil {
		if o.Reaches {
			answer, err = m.Reaches(target.Workload)
		} else {
			answer, err = m.Who(target)
		}
	}
	if closing := m.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	answer.Notes = append(answer.Notes, m.Missing()...)
	view := &View{answer, m.From}
	return m.Verdict(output.Write(s.Out, o.Output, view, func(w io.Writer) error { return o.text(w, view, s.OutColour) }))
}

func target(args []string) (ask.Target, error) {
	var out ask.Target
	namespace, name, ok := strings.Cut(args[0], "/")
	if !ok || namespace == "" || name == "" {
		return out, fmt.Errorf("reading the workload: %q is not NAMESPACE/NAME, such as shop/cart or shop/cart:8080", args[0])
	}
	if before, number, ok := strings.Cut(name, ":"); ok {
		port, err := strconv.ParseUint(number, 10, 16)
		if err != nil || port == 0 {
			return out, fmt.Errorf("reading the workload: %q is no port", number)
		}
		name, out.Port = before, uint16(port)
	}
	out.Workload = ask.WorkloadRef{Namespace: namespace, Name: name}
	for _, a := range args[1:] {
		switch {
		case strings.HasPrefix(a, "/") && out.Path == "":
			out.Path = a
		case !strings.HasPrefix(a, "/") && out.Method == "":
			out.Method = strings.ToUpper(a)
		default:
			return out, fmt.Errorf("reading %q: give one method and one path", a)
		}
	}
	return out, nil
}

func (o *Options) text(w io.Writer, a *View, colour bool) error {
	var b strings.Builder
	if o.Verbose {
		for i := range a.Rows {
			o.long(&b, &a.Rows[i])
		}
	} else if len(a.Rows) > 0 {
		var rows []output.Row
		for i := range a.Rows {
			r := &a.Rows[i]
			first := o.from(r)
			if o.Reaches {
				first = r.To
			}
			rows = append(rows, output.Row{Mood: moods[r.Clients], Cells: []string{
				first, output.Port(r), output.Short(r.Methods, 3), output.Short(r.Paths, 2), output.Needs(r.Needs, r.Token, r.Only, r.Why), output.By(r.Because, r.Rules),
			}})
		}
		header := "FROM"
		if o.Reaches {
			header = "TO"
		}
		if err := output.Table(&b, []string{header, "PORT", "METHODS", "PATHS", "NEEDS", "BY"}, rows, colour); err != nil {
			return err
		}
	}
	if len(a.Rows) == 0 {
		b.WriteString("nobody, and nothing\n")
	}
	output.Notes(&b, a.Notes)
	output.Source(&b, a.Source)
	_, err := io.WriteString(w, b.String())
	return err
}

var moods = map[ask.Clients]output.Mood{ask.Plaintext: output.Waiting, ask.FromInternet: output.Waiting}

func (o *Options) from(r *ask.Reach) string {
	switch r.Clients {
	case ask.Workloads:
		if r.Any && !o.Reaches {
			return "any workload of the mesh"
		}
		return output.Short(r.From, 3)
	case ask.Nobody:
		return "nobody today: " + strings.Join(r.From, " ")
	case ask.Plaintext:
		return "anybody in the network, in plaintext"
	case ask.FromInternet:
		return "internet by " + strings.Join(r.From, " ")
	}
	return string(r.Clients)
}

func (o *Options) long(b *strings.Builder, r *ask.Reach) {
	fmt.Fprintf(b, "%s reaches %s, needs %s\n", o.from(r), r.To, output.Needs(r.Needs, r.Token, r.Only, r.Why))
	if p := output.Port(r); p != "" {
		fmt.Fprintf(b, "  port     %s\n", p)
	}
	if len(r.Methods) > 0 {
		fmt.Fprintf(b, "  methods  %s\n  paths    %s\n", strings.Join(r.Methods, " "), strings.Join(r.Paths, " "))
	}
	output.Statements(b, r.Because, r.Rules)
	if _, err := r.Witness.Request(); err == nil {
		fmt.Fprintf(b, "  try      %s\n", output.Command(o.Arguments(), r.Witness))
	}
	b.WriteString("\n")
}
