// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Package version is the command `trellis version`: which build this is, and
// which version of the API it reads. What a build knows of itself is from
// internal/version.
package version

import (
	"encoding/json"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
	"github.com/trellis-mesh/trellis/internal/version"
)

// Info is what a build knows of itself.
type Info struct {
	Version string `json:"version"`
	// API is the version of the kinds that this build reads.
	API      string `json:"api"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// Run tells what this build is.
func Run() Info {
	return Info{
		Version: version.String(), API: v1alpha1.GroupVersion.String(),
		Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
}

var views = map[string]func(io.Writer, Info) error{"text": text, "json": asJSON, "yaml": asYAML}

var formats = []string{"text", "json", "yaml"}

// New is the command.
func New(s *streams.Streams) *cobra.Command {
	var output string
	cmd := &cobra.Command{
		Use:   "version",
		Short: "Print which build this is",
		Long:  "Print which build this is, and which version of the API it reads.",
		Example: `  # For people
  trellis version

  # For programs
  trellis version -o json`,
		Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			view, ok := views[output]
			if !ok {
				return fmt.Errorf("reading -o: %q is none of %s", output, strings.Join(formats, ", "))
			}
			return view(s.Out, Run())
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "text", "format: "+strings.Join(formats, ", "))
	// Cobra's registration fails only for a flag that is not there.
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func text(w io.Writer, i Info) error {
	_, err := fmt.Fprintf(w, "trellis %s (%s, %s, %s)\n", i.Version, i.API, i.Go, i.Platform)
	return err
}

func asJSON(w io.Writer, i Info) error {
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(i)
}

func asYAML(w io.Writer, i Info) error {
	raw, err := yaml.Marshal(i)
	if err != nil {
		return err
	}
	_, err = w.Write(raw)
	return err
}
