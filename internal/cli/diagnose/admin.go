// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package diagnose

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/trellis-mesh/trellis/internal/mtls/diagnosis"
	"github.com/trellis-mesh/trellis/internal/xds/configdump"
)

const (
	// adminTime is for all answers of one Envoy.
	adminTime = time.Minute
	// adminSize bounds the counters: some 100 for each of thousands of clusters.
	adminSize = 128 << 20
)

// readAdmin reads what an Envoy is and what it counts. It changes nothing: all of it is
// read with GET.
func readAdmin(ctx context.Context, address string) (*diagnosis.Admin, error) {
	host, port, err := net.SplitHostPort(address)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil || host == "" {
		return nil, fmt.Errorf("reading --admin: %q is not HOST:PORT, such as 127.0.0.1:15000", address)
	}
	ctx, cancel := context.WithTimeout(ctx, adminTime)
	defer cancel()
	client := &http.Client{
		Transport:     &http.Transport{},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	defer client.CloseIdleConnections()
	out := &diagnosis.Admin{}
	err = get(ctx, client, address, "/config_dump?include_eds", func(body io.Reader) error {
		config, err := configdump.Read(body, configdump.Options{Name: "of " + address})
		if err == nil {
			out.Node = config.Node()
		}
		return err
	})
	if err == nil {
		err = get(ctx, client, address, "/stats", func(body io.Reader) (err error) {
			out.Stats, err = limited(body)
			return err
		})
	}
	if err == nil {
		err = get(ctx, client, address, "/clusters?format=json", func(body io.Reader) (err error) {
			out.Clusters, err = limited(body)
			return err
		})
	}
	if err != nil {
		return nil, fmt.Errorf("asking the Envoy at %s: %w", address, err)
	}
	return out, nil
}

func get(ctx context.Context, client *http.Client, address, path string, read func(io.Reader) error) (err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
	if err != nil {
		return err
	}
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, answer.Body.Close()) }()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("it answers %s to GET %s: it is no admin interface of an Envoy", answer.Status, path)
	}
	return read(answer.Body)
}

func limited(body io.Reader) ([]byte, error) {
	raw, err := io.ReadAll(io.LimitReader(body, adminSize+1))
	if err == nil && len(raw) > adminSize {
		err = fmt.Errorf("an answer is longer than %d MiB", adminSize>>20)
	}
	return raw, err
}
