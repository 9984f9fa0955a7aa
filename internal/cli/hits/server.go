// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"context"
	"errors"
	"io"
	"net/url"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/exit"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// ask asks trellis-server what it has counted.
func (o *Options) ask(ctx context.Context, s *streams.Streams) (err error) {
	server, err := o.Server(ctx, s, o.Serving)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	view := &answer.Hits{}
	if err := server.Get(ctx, "hits", url.Values{"by": {o.By}, "since": {o.Since.String()}}, view); err != nil {
		return err
	}
	view.Notes = append(view.Notes, server.Notes...)
	if err := output.Write(s.Out, o.Output, view, func(w io.Writer) error { return text(w, view, time.Now(), s.OutColour) }); err != nil {
		return err
	}
	if len(view.Ran) == 0 {
		return exit.ErrUnknown
	}
	return nil
}
