// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package hits

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/internal/answer"
	"github.com/trellis-mesh/trellis/internal/cli/output"
	"github.com/trellis-mesh/trellis/internal/cli/streams"
)

// exemplify asks trellis-server for the newest requests that it has counted.
func (o *Options) exemplify(ctx context.Context, s *streams.Streams) (err error) {
	server, err := o.Server(ctx, s, o.Serving)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()
	view := &answer.Samples{}
	if err := server.Get(ctx, "samples", url.Values{"since": {o.Since.String()}}, view); err != nil {
		return err
	}
	view.Notes = append(view.Notes, server.Notes...)
	return output.Write(s.Out, o.Output, view, func(w io.Writer) error { return samplesText(w, view, s.OutColour) })
}

func samplesText(w io.Writer, v *answer.Samples, colour bool) error {
	rows := make([]output.Row, 0, len(v.Samples))
	for i := range v.Samples {
		one := &v.Samples[i]
		code := ""
		if one.Code != 0 {
			code = strconv.Itoa(one.Code)
		}
		by := answer.HitRow{Statement: one.Statement, Field: one.Field, Reason: one.Reason}
		rows = append(rows, output.Row{Cells: []string{
			one.At.UTC().Format(time.RFC3339), string(one.Verdict), one.Method, code, strings.TrimSpace(one.Application + " " + one.Route), one.Peer, by.String(), one.RequestID,
		}})
	}
	if err := output.Table(w, []string{"TIME", "VERDICT", "METHOD", "CODE", "APPLICATION", "PEER", "RULE", "REQUEST-ID"}, rows, colour); err != nil {
		return err
	}
	var b strings.Builder
	if v.More > 0 {
		fmt.Fprintf(&b, "and %d more\n", v.More)
	}
	if v.Redacted {
		b.WriteString("requests that you may not read about are left out\n")
	}
	output.Notes(&b, v.Notes)
	_, err := io.WriteString(w, b.String())
	return err
}
