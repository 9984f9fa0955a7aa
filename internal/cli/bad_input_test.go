// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package cli_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestBadInputIsNeverAVerdict gives what people and machines give by mistake: it ends
// with an error that says what, or with Unknown, and never with Allow.
func TestBadInputIsNeverAVerdict(t *testing.T) {
	inRepository(t)
	folder := t.TempDir()
	write := func(name, text string) string {
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	binary := write("binary.yaml", "\x00\x01\xff\xfe\x7fELF\x02\x01")
	deep := write("deep.yaml", strings.Repeat("[", 20_000))
	soaked := write("soaked.yaml", "apiVersion: trellis.dev/v1alpha1\nkind: ClusterPolicyBinding\nmetadata: {name: deny}\nspec:\n"+
		"  {policy: {name: deny, version: 2.0.0}, tier: Mandatory, mode: Enforce, rollout: {soak: 0s, stages: [{name: test, namespaces: {}}]}}\n")
	cyclic := write("cyclic.yaml", delegates("one", "two")+"---\n"+delegates("two", "one"))
	f := []string{"-f", bookinfo}
	for _, c := range []struct {
		name string
		args []string
		code int
		says string
	}{
		{"no host", []string{"can", "/productpage"}, 1, "it has no host"},
		{"a host with nothing behind it", []string{"can", "https://"}, 1, "it has no host"},
		{"another scheme", []string{"can", "gopher://bookinfo.example.com/"}, 1, `scheme "gopher" is none of https, http and tcp`},
		{"a port that is none", []string{"can", "https://bookinfo.example.com:99999/"}, 1, "is no port"},
		{"tcp without a port", []string{"can", "tcp://reviews"}, 1, "is no port"},
		{"a URL that cannot be read", []string{"can", "https://[::1/"}, 1, "reading the URL"},
		{"a method that is none", []string{"can", "GE T", "https://bookinfo.example.com/"}, 2, "Deny 400"},
		{"a method with a newline", []string{"can", "GET\nX: y", "https://bookinfo.example.com/"}, 2, "Deny 400"},
		{"a host in other letters", []string{"can", "https://bücher.example.com/"}, 1, "xn--"},
		{"a header without a name", []string{"can", "-H", ": x", "https://bookinfo.example.com/"}, 2, "Deny 400"},
		{"a header with a newline", []string{"can", "-H", "a: b\r\nc: d", "https://bookinfo.example.com/"}, 2, "Deny 400"},
		{"claims that are no object", []string{"can", "--claims", "[1]", "https://bookinfo.example.com/"}, 1, "reading --claims"},
		{"claims and a token", []string{"can", "--claims", "{}", "--token", "a", "https://bookinfo.example.com/"}, 1, "give one of them"},
		{"a token that is none", []string{"can", "--token", "x.y", "https://bookinfo.example.com/api/v1/products"}, 2, "Deny 401"},
		{"nobody sends it", []string{"can", "--from", "bookinfo", "https://bookinfo.example.com/"}, 1, "neither NAMESPACE/NAME nor an IP address"},
		{"a service that does not exist", []string{"can", "--from", "bookinfo/productpage", "http://gone:9080/"}, 1, "no Service is named gone"},
		{"graph and json", []string{"can", "--graph", "-o", "json", "https://bookinfo.example.com/"}, 1, "--graph"},
		{"who of nothing", []string{"who", "bookinfo"}, 1, "is not NAMESPACE/NAME"},
		{"who at port 0", []string{"who", "bookinfo/reviews:0"}, 1, "is no port"},
		{"a Service without a proxy", []string{"who", "nowhere/nobody"}, 1, "there is no workload nowhere/nobody"},
		{"reaches with a path", []string{"who", "--reaches", "bookinfo/reviews", "GET", "/x"}, 1, "--reaches"},
		{"explain of binary", []string{"explain", "\x00\xff\x01"}, 1, "is none of"},
		{"a rule that is no number", []string{"explain", "ap", "bookinfo/x/one"}, 1, "is no number of a rule"},
		{"exposed of a host that is none", []string{"exposed", "--host", "https://bookinfo.example.com"}, 1, "is no host"},
		{"a folder that is not there", []string{"diff", bookinfo, folder + "/gone"}, 1, "no such file"},
		{"an effect that is none", []string{"diff", bookinfo, bookinfo, "--fail-on", "all"}, 1, `"all" is none of allowed`},
		{"never and something", []string{"diff", bookinfo, bookinfo, "--fail-on", "never,allowed"}, 1, "never"},
		{"a log that is not there", []string{"replay", folder + "/gone.log"}, 1, "reading the log"},
		{"counts of files", []string{"replay", "--since", "1h"}, 1, "name its cluster with --context"},
		{"counts of the future", []string{"replay", "--since", "-1h", "--context", "prod"}, 1, "is no time back from now"},
		{"counts and a log", []string{"replay", "--since", "1h", "--context", "prod", binary}, 1, "give one of them"},
		{"counts and what was before", []string{"replay", "--since", "1h", "--context", "prod", "--before", folder}, 1, "what was before is the cluster"},
		{"a log of binary", []string{"replay", binary}, 3, "cannot be read"},
		{"a log of binary to be counted", []string{"hits", binary}, 3, "incomplete"},
		{"a test file of binary", []string{"test", "--tests", binary}, 1, "reading tests"},
		{"traffic in no line", []string{"mtls", "plan", "--log", "-"}, 1, "there is no line of an access log"},
		{"traffic in lines of binary", []string{"mtls", "plan", "--log", binary}, 1, "there is no line of an access log"},
		{"how far back, and in what", []string{"mtls", "plan", "--since", "1h"}, 1, "leave it out"},
		{"metrics at no URL", []string{"mtls", "plan", "--prometheus", "prometheus:9090"}, 1, "such as http://localhost:9090"},
		{"a rollout that is not there", []string{"mtls", "plan", "--rollout", "gone"}, 1, "there is no MutualTLSRollout gone"},
		{"a client that does not exist", []string{"mtls", "fix", "bookinfo/gone", "bookinfo/reviews"}, 1, "in that namespace there are details, productpage, reviews"},
		{"a service that is misspelt", []string{"mtls", "check", "-", "bookinfo/review"}, 1, "in that namespace there are details, productpage, reviews"},
		{"a service of a namespace that is not there", []string{"mtls", "check", "-", "gone/reviews"}, 1, "none is known in namespace gone"},
		{"a URL for a service", []string{"mtls", "check", "-", "https://reviews"}, 1, "NAMESPACE/NAME or a host"},
		{"too few arguments", []string{"mtls", "explain", "bookinfo/reviews"}, 1, "it is: trellis mtls explain CLIENT SERVICE[:PORT]"},
		{"a graph of a namespace that is not there", []string{"mtls", "graph", "-n", "gone"}, 1, "there is no service in namespace gone"},
		{"diagnosis of no line", []string{"diagnose", "-"}, 3, "there is no line of an access log"},
		{"a report without a binding that cannot be read", []string{"report", "-f", soaked}, 2, "SchemaInvalid ClusterPolicyBinding deny spec.rollout.soak"},
		{"a tree without it", []string{"tree", "-f", soaked}, 2, "SchemaInvalid ClusterPolicyBinding deny spec.rollout.soak"},
		{"an envelope without it", []string{"envelope", "-f", soaked, "bookinfo/productpage"}, 2, "SchemaInvalid ClusterPolicyBinding deny spec.rollout.soak"},
		{"deep tests", []string{"test", "--tests", deep}, 1, "reading tests"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := trellis(t, "", append(c.args, f...)...)
			if got.code != c.code || !strings.Contains(got.out+got.err, c.says) || strings.HasPrefix(got.out, "Allow") {
				t.Errorf("exit code %d, want %d with %q\n%.500s%.500s", got.code, c.code, c.says, got.out, got.err)
			}
		})
	}
	service := write("service.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: a, namespace: b}\nspec: {ports: 80}\n")
	for _, question := range [][]string{
		{"can", "https://bookinfo.example.com/productpage"}, {"exposed"}, {"unused"}, {"who", "bookinfo/reviews"},
		{"replay", "examples/access-logs/gateway.log"}, {"mtls", "check"}, {"mtls", "graph"}, {"mtls", "plan"},
		{"mtls", "explain", "bookinfo/productpage", "bookinfo/reviews"}, {"mtls", "fix", "bookinfo/productpage", "bookinfo/reviews"},
	} {
		for file, code := range map[string]int{binary: 3, deep: 3, service: 1} {
			got := trellis(t, "", append(question, "-f", bookinfo, "-f", file)...)
			if got.code != code || !strings.Contains(got.err, "error: ") {
				t.Errorf("%v reads %s as if it were nothing: exit code %d\n%.500s%.500s", question, file, got.code, got.out, got.err)
			}
		}
	}
	if got := trellis(t, "", "exposed", "-f", bookinfo, "-f", cyclic); got.code != 0 || strings.Contains(got.out, "cyclic.example.com") {
		t.Errorf("cyclic delegates: %+v", got)
	}
}

func delegates(name, to string) string {
	return "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: " + name + ", namespace: bookinfo}\n" +
		"spec: {hosts: [cyclic.example.com], gateways: [istio-ingress/none], http: [{match: [{uri: {prefix: /}}], delegate: {name: " + to + "}}]}\n"
}

// TestNothingInANameBreaksAGraph asks with quotes and newlines, and reads the graph
// as the language has it: outside of quotes there is nothing of others.
func TestNothingInANameBreaksAGraph(t *testing.T) {
	inRepository(t)
	for _, args := range [][]string{
		{"can", `https://bookinfo.example.com/a%22];x->y[label=%22?q="];z->y;`},
		{"can", "--from", "bookinfo/details", "http://reviews:9080/reviews/0\\\" -> x"},
		{"explain", `https://bookinfo.example.com/product%0a"];evil`},
	} {
		got := trellis(t, "", append(args, "-f", bookinfo, "--graph")...)
		if !strings.HasPrefix(got.out, "digraph ") || got.code == 1 {
			t.Errorf("%q: %+v", args, got)
			continue
		}
		outside := unquoted(t, got.out)
		for _, word := range []string{"evil", "z->y", "x->y", "-> x"} {
			if strings.Contains(outside, word) {
				t.Errorf("%q: %s is part of the graph:\n%s", args, word, got.out)
			}
		}
		if dot, err := exec.LookPath("dot"); err == nil {
			draw := exec.CommandContext(t.Context(), dot, "-Tsvg")
			draw.Stdin = strings.NewReader(got.out)
			if said, err := draw.CombinedOutput(); err != nil {
				t.Errorf("%q: %v\n%.500s", args, err, said)
			}
		}
	}
}

// unquoted is a graph without its strings.
func unquoted(t *testing.T, graph string) string {
	t.Helper()
	var out strings.Builder
	inside := false
	for i := 0; i < len(graph); i++ {
		switch {
		case inside && graph[i] == '\\':
			i++
		case graph[i] == '"':
			inside = !inside
		case inside && graph[i] == '\n':
			t.Fatalf("a string goes on in another line:\n%s", graph)
		case !inside:
			out.WriteByte(graph[i])
		}
	}
	if inside {
		t.Fatalf("a string does not end:\n%s", graph)
	}
	return out.String()
}
