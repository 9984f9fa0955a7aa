// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/trellis-mesh/trellis/internal/catalog"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

func newNew(s *streams.Streams) *cobra.Command {
	return &cobra.Command{
		Use:   "new NAME",
		Short: "Print a policy to begin with",
		Long: `Print a PolicyTemplate to begin with. It explains each of its parts, and passes the tests
that it has.`,
		Example: `  # Begin a policy
  trellis catalog new my-policy > my-policy.yaml`,
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if len(validation.IsDNS1123Label(args[0])) > 0 {
				return fmt.Errorf("%q cannot be the name of a policy: use lower-case letters, digits and dashes, at most 63, that begin and end with a letter or digit", args[0])
			}
			if _, err := io.WriteString(s.Out, catalog.Starter(args[0])); err != nil {
				return fmt.Errorf("writing the policy: %w", err)
			}
			return nil
		},
	}
}
