// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package console

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"syscall"
	"testing"
)

func TestAnotherUserOfTheMachineIsRefused(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if os.Getuid() != 0 || err != nil {
		t.Skip("only root may be somebody else, and bash connects for them")
	}
	const another = 65534
	listener, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of a test
	must(t, err)
	refused, done := make(chan int, 1), make(chan error, 1)
	go func() {
		_, err := newOwn(listener, func(user int) { refused <- user }).Accept()
		done <- err
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)
	cmd := exec.CommandContext(t.Context(), bash, "-c", fmt.Sprintf("exec 3<>/dev/tcp/127.0.0.1/%s; cat <&3", port))
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: another, Gid: another}}
	must(t, cmd.Start())
	if user := <-refused; user != another {
		t.Errorf("user %d is refused", user)
	}
	// Its connection is closed, so that it comes to an end by itself, well or not.
	_ = cmd.Wait()
	must(t, listener.Close())
	if err := <-done; err == nil {
		t.Error("a connection is taken")
	}
}
