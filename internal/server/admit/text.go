// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package admit

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/server/examine"
	"github.com/trellis-mesh/trellis/internal/server/observe"
	"github.com/trellis-mesh/trellis/internal/verdict"
	"github.com/trellis-mesh/trellis/internal/webhook"
)

const (
	// maximumWarning is what an API server passes on without cutting it off.
	maximumWarning = 256
	// maximumWarnings keeps a terminal readable.
	maximumWarnings = 10
	// reason is that of the causes in a refusal.
	reason = "TestFailed"
)

// unknown lets a change through and says so: it is no verdict. The operator puts
// nothing in force whose tests have not passed.
func unknown(why string) admission.Response {
	return warned(admission.Allowed(""), []string{"spec.tests were not run before the change was admitted: " + why + ". It comes into force once they have passed; see TestsPassed"})
}

// warned adds warnings of a length that is passed on.
func warned(r admission.Response, warnings []string) admission.Response {
	if more := len(warnings) - maximumWarnings; more > 0 {
		warnings = append(warnings[:maximumWarnings:maximumWarnings], fmt.Sprintf("and %d more tests", more))
	}
	for _, w := range warnings {
		if len(w) > maximumWarning {
			end := maximumWarning - len("…")
			for !utf8.RuneStart(w[end]) {
				end--
			}
			w = w[:end] + "…"
		}
		r.Warnings = append(r.Warnings, w)
	}
	return r
}

// waiting says why tests that did not pass are no reason to refuse.
func waiting(t *tried) []string {
	f := t.missing[0]
	return []string{fmt.Sprintf("%d of spec.tests cannot pass yet: %s (%s). The change comes into force once they have passed; see TestsPassed",
		len(t.own.Failures)+t.own.More, f.Message, f.Reason)}
}

// broken are the tests that failed, by what they say: a test that was changed is
// another one.
func broken(r *verdict.Application, of *v1alpha1.Application) map[string]bool {
	out := map[string]bool{}
	for _, f := range r.Failures {
		if f.State == verdict.Failed {
			out[statementOf(&f, of)] = true
		}
	}
	return out
}

// statementOf is a test without its place in the list, or an assertion of a policy.
func statementOf(f *verdict.Failure, of *v1alpha1.Application) string {
	if f.Policy != "" {
		return f.Policy + "/" + f.Test
	}
	for i := range of.Spec.Tests {
		if f.Field == fmt.Sprintf("spec.tests[%d]", i) {
			return verdict.Digest(&v1alpha1.ApplicationSpec{Tests: of.Spec.Tests[i : i+1]})
		}
	}
	return f.Field
}

// judge refuses for every test that the change breaks, and warns of those that did
// not pass before and those of which nothing can be told.
func judge(a *v1alpha1.Application, t *tried, had map[string]bool, warnings []string) admission.Response {
	var refused []verdict.Failure
	for _, f := range t.own.Failures {
		if f.State == verdict.Failed && !had[statementOf(&f, a)] {
			refused = append(refused, f)
			continue
		}
		warnings = append(warnings, f.Field+": "+f.Sentence()+". The change is not in force before it passes")
	}
	if len(refused) == 0 {
		return warned(admission.Allowed(""), warnings)
	}
	name := fmt.Sprintf("Application %s/%s", a.Namespace, a.Name)
	var text strings.Builder
	fmt.Fprintf(&text, "%s cannot be accepted, since %d of its %d tests would fail:", name, len(refused)+t.own.More, t.own.Tests)
	var causes []metav1.StatusCause
	for i := range refused {
		f := &refused[i]
		write(&text, name, f)
		causes = append(causes, metav1.StatusCause{Type: reason, Field: f.Field, Message: f.Sentence()})
	}
	if t.own.More > 0 {
		fmt.Fprintf(&text, "\nand %d more", t.own.More)
	}
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Allowed: false,
		Result: &metav1.Status{
			Status: metav1.StatusFailure, Code: http.StatusUnprocessableEntity, Reason: metav1.StatusReasonInvalid,
			Message: text.String(),
			Details: &metav1.StatusDetails{Group: v1alpha1.GroupName, Kind: "Application", Name: a.Name, Causes: causes},
		},
	}}
}

// write says of one test what, why, whose, what to do and where to look.
func write(text *strings.Builder, name string, f *verdict.Failure) {
	if f.Policy != "" {
		writeAsserted(text, f)
		return
	}
	fmt.Fprintf(text, "\n- %s: test %q: %s (%s)", f.Field, f.Test, f.Says, reason)
	if f.Why != "" {
		fmt.Fprintf(text, "\n  why: %s", f.Why)
	}
	rule, do := name+" "+f.Field, "change the routes or callers so that the test passes, or the test where it is no longer right"
	if f.By != "" {
		rule, do = f.By, "change that statement, or the test where it is no longer right"
	}
	if f.Whom != "" {
		do += "; ask " + f.Whom
	}
	fmt.Fprintf(text, "\n  rule: %s\n  do: %s", rule, do)
	if f.Ask != "" {
		fmt.Fprintf(text, "\n  see: %s", f.Ask)
	}
}

// others warns of tests of other Applications that passed and would not any more.
func (h *Handler) others(t *tried) []string { return h.newly(t.others) }

func (h *Handler) newly(results []verdict.Application) []string {
	passed := map[verdict.Key]bool{}
	if settled := h.config.Settled(); settled != nil {
		for i := range settled.Applications {
			if r := &settled.Applications[i]; r.State == verdict.Passed {
				passed[r.Key()] = true
			}
		}
	}
	var out []string
	for i := range results {
		r := &results[i]
		if !passed[r.Key()] {
			continue
		}
		for _, f := range r.Failures {
			out = append(out, fmt.Sprintf("this change breaks a test of Application %s/%s: %s", r.Namespace, r.Name, f.Sentence()))
		}
	}
	return out
}

// ingress warns of tests that a change of the platform's breaks: it is the
// platform's right.
func (h *Handler) ingress(ctx context.Context, state *observe.State, i *v1alpha1.SecureIngress) admission.Response {
	changed := *state
	changed.Input.SecureIngresses = append(slices.DeleteFunc(slices.Clone(state.Input.SecureIngresses), func(o *v1alpha1.SecureIngress) bool {
		return o.Namespace == i.Namespace && o.Name == i.Name
	}), i)
	if i.Spec.TLS.SecretName != "" {
		changed.Input.Certificates = observe.Assumed(&changed.Input)
	}
	results, _, err := examine.Run(ctx, &changed, h.choice(state), h.config.Clock.Now(), func(a *v1alpha1.Application) bool { return len(a.Spec.Exposures) > 0 })
	if err != nil {
		h.config.Log.Warn("a change of an ingress could not be tried", "ingress", i.Namespace+"/"+i.Name, "error", err)
		return admission.Allowed("")
	}
	return warned(admission.Allowed(""), h.newly(results))
}

// meets reports whether two Applications can have to do with each other: in a
// namespace, on a host, or as caller and called.
func meets(a, b *v1alpha1.Application, ingresses []*v1alpha1.SecureIngress) bool {
	if a.Namespace == b.Namespace || calls(a, b) || calls(b, a) {
		return true
	}
	hosts := webhook.Hosts(b, ingresses)
	return slices.ContainsFunc(webhook.Hosts(a, ingresses), func(host string) bool { return slices.Contains(hosts, host) })
}

// calls reports whether a may call b, by name.
func calls(a, b *v1alpha1.Application) bool {
	return b.Spec.Access != nil && slices.ContainsFunc(b.Spec.Access.Callers, func(c v1alpha1.Caller) bool {
		p := c.Peer.Application
		return p != nil && string(p.Namespace) == a.Namespace && p.Name == a.Name
	})
}

// firstLine leaves out the trace of a panic, which is in the log.
func firstLine(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

// writeAsserted says the same of what a policy asserts: the rule is the policy's, and a
// statement of the Application is what does not keep to it.
func writeAsserted(text *strings.Builder, f *verdict.Failure) {
	fmt.Fprintf(text, "\n- %s: %s: assertion %q: %s (%s)", f.Field, f.Wrong, f.Test, f.Says, reason)
	if f.Why != "" {
		fmt.Fprintf(text, "\n  why: %s", f.Why)
	}
	if f.By != "" {
		fmt.Fprintf(text, "\n  by: %s", f.By)
	}
	fmt.Fprintf(text, "\n  rule: %s\n  do: %s, or ask for an exception from %s", f.Rule, strings.TrimSuffix(f.Fix, "."), f.Policy)
	if f.Ask != "" {
		fmt.Fprintf(text, "\n  see: %s", f.Ask)
	}
}
