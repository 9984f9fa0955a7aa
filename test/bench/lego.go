// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const legoName = "lego v4.35 Obtain"

// lego is the program of that library, built from a module of its own.
type lego struct{ dir, binary string }

func buildLego(ctx context.Context) (*lego, error) {
	dir, err := os.MkdirTemp("", "bench-")
	if err != nil {
		return nil, err
	}
	l := &lego{dir: dir, binary: filepath.Join(dir, "obtain")}
	if out, err := exec.CommandContext(ctx, "go", "-C", "test/oracle/lego", "build", "-o", l.binary, "./cmd/obtain").CombinedOutput(); err != nil {
		l.remove()
		return nil, fmt.Errorf("building lego, %w: %s", err, out)
	}
	return l, nil
}

func (l *lego) remove() { _ = os.RemoveAll(l.dir) }

// issue gets the certificates. The time of its process to start is in what it takes.
func (l *lego) issue(ctx context.Context, a *authority, names []string) error {
	records := httptest.NewServer(http.HandlerFunc(a.answer))
	defer records.Close()
	job, err := json.Marshal(map[string]any{
		"directory": a.Directory, "publish": records.URL, "names": names, "lanes": lanes,
		"roots": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Front.Raw})),
	})
	if err != nil {
		return err
	}
	command := exec.CommandContext(ctx, l.binary)
	command.Stdin, command.Stderr = bytes.NewReader(job), os.Stderr
	// It would look for aliases of the names in the real world.
	command.Env = append(os.Environ(), "LEGO_DISABLE_CNAME_SUPPORT=true")
	return command.Run()
}

// answer publishes what another process asks for.
func (a *authority) answer(w http.ResponseWriter, r *http.Request) {
	var record struct{ Name, Value string }
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 4<<10)).Decode(&record); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	name := strings.TrimSuffix(record.Name, ".")
	if record.Value == "" {
		a.Set(name)
	} else {
		a.Set(name, record.Value)
	}
	w.WriteHeader(http.StatusNoContent)
}
