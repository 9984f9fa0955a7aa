// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package assessment_test

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"encoding/xml"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/trellis-mesh/trellis/api/v1alpha1"
	"github.com/trellis-mesh/trellis/internal/compile"
	"github.com/trellis-mesh/trellis/internal/model"
	"github.com/trellis-mesh/trellis/internal/policy"
	"github.com/trellis-mesh/trellis/internal/posture"
	"github.com/trellis-mesh/trellis/internal/report/assessment"
)

var now = time.Date(2027, 1, 1, 12, 0, 0, 0, time.UTC)

// names is a policy that an Application of the name keeps to.
func names(keeps, message string) *v1alpha1.PolicyTemplate {
	return &v1alpha1.PolicyTemplate{ObjectMeta: metav1.ObjectMeta{Name: keeps + "-1.0.0"}, Spec: v1alpha1.PolicyTemplateSpec{
		Policy: v1alpha1.LabelName(keeps), Version: "1.0.0", Title: "Applications are " + keeps, Description: "Since " + keeps + " matters.", Severity: v1alpha1.SeverityHigh,
		Controls:    []v1alpha1.Control{"nist-800-53:SC-7(21)", "pci-dss-4.0:6.5.3", "soc2:CC6.1"},
		Remediation: v1alpha1.Remediation{Text: "Rename it.", Link: "https://example.com/names#" + v1alpha1.Link(keeps)},
		Constraints: []v1alpha1.Constraint{{
			Name: "kept", Subject: v1alpha1.SubjectApplication, Expression: v1alpha1.Expression("application.name == '" + keeps + "'"), Message: message, Field: "metadata.name",
		}},
	}}
}

func bound(name, to string, tier v1alpha1.PolicyTier, mode v1alpha1.PolicyMode, goals ...v1alpha1.LabelName) *v1alpha1.ClusterPolicyBinding {
	return &v1alpha1.ClusterPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: v1alpha1.ClusterPolicyBindingSpec{
		Tier: tier, PolicyBindingSpec: v1alpha1.PolicyBindingSpec{Policy: v1alpha1.PolicyVersion{Name: v1alpha1.LabelName(to), Version: "1.0.0"}, Mode: mode, Goals: goals},
	}}
}

const hostile = `=HYPERLINK("x") \| [here](https://evil.example) <img src=x> @team`

// assessed is a mesh with the Applications good and other, which policies ask to be called
// good, in each mode, and one of them to be called other. One exception lets other go.
func assessed(t *testing.T) *assessment.Assessment { return assessedWith(t, v1alpha1.ModeShadow) }

// assessedWith has a binding without a template in a mode. Enforced, it lets no exception be
// in force.
func assessedWith(t *testing.T, missing v1alpha1.PolicyMode) *assessment.Assessment {
	t.Helper()
	e := &v1alpha1.PolicyException{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "old"}, Spec: v1alpha1.PolicyExceptionSpec{
		Binding: v1alpha1.BindingReference{Kind: "ClusterPolicyBinding", Name: "exempt"}, Subject: v1alpha1.ExceptionSubject{Application: "other"},
		Reason: "it goes in March (SHOP-1)", Expires: metav1.NewTime(now.Add(24 * time.Hour)),
	}}
	digest, err := policy.Digest(e)
	if err != nil {
		t.Fatal(err)
	}
	e.Spec.Approval = &v1alpha1.ExceptionApproval{By: "officer@example.com", Of: digest}
	late := e.DeepCopy()
	late.Name, late.Spec.Approval = "asked", nil
	in := model.Input{
		Mesh: model.DefaultMesh(), At: now, Namespaces: []model.Namespace{{Name: "shop"}},
		Policies: model.Policies{
			Goals: []*v1alpha1.Goal{
				{ObjectMeta: metav1.ObjectMeta{Name: "named"}, Spec: v1alpha1.GoalSpec{Title: "Names are | good", Owner: "officer@example.com", Controls: []v1alpha1.Control{"nist-800-53:AC-4"}}},
				{ObjectMeta: metav1.ObjectMeta{Name: "nobodys"}, Spec: v1alpha1.GoalSpec{Title: "Nobody serves it", Owner: "officer@example.com"}},
			},
			Templates: []*v1alpha1.PolicyTemplate{names("good", hostile), names("other", "it is not other")},
			ClusterBindings: []*v1alpha1.ClusterPolicyBinding{
				bound("enforced", "good", v1alpha1.TierMandatory, v1alpha1.ModeEnforce, "named"),
				bound("enforced-too", "good", v1alpha1.TierMandatory, v1alpha1.ModeEnforce),
				bound("exempt", "good", v1alpha1.TierMandatory, v1alpha1.ModeEnforce, "named"),
				bound("audited", "good", v1alpha1.TierMandatory, v1alpha1.ModeAudit),
				bound("tried", "good", v1alpha1.TierMandatory, v1alpha1.ModeShadow),
				bound("default", "good", v1alpha1.TierDefault, v1alpha1.ModeEnforce),
				bound("missing", "nowhere", v1alpha1.TierMandatory, missing),
			},
			Exceptions: []*v1alpha1.PolicyException{late, e},
		},
	}
	for _, name := range []string{"good", "other"} {
		in.Applications = append(in.Applications, &v1alpha1.Application{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Spec: v1alpha1.ApplicationSpec{Service: name}})
	}
	s := model.NewSnapshot(in)
	at := func(ref model.Reference, _ string) model.Position {
		return model.Position{File: "apps/" + ref.Name + ".yaml", Line: 3}
	}
	return assessment.Of(posture.Of(s, compile.Compile(s)), now, "v1.2.3", at)
}

func write(t *testing.T, format string, a *assessment.Assessment) string {
	t.Helper()
	var out bytes.Buffer
	if err := assessment.Views(false)[format](&out, a); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

func TestOnlyWhatIsRefusedIsAnError(t *testing.T) {
	got := map[string]string{}
	for _, line := range strings.Split(write(t, "text", assessed(t)), "\n") {
		if at, is := strings.CutPrefix(line, "  rule: ClusterPolicyBinding "); is {
			name, _, _ := strings.Cut(at, " ")
			got[name] = got["last"]
		} else if strings.HasPrefix(line, "apps/other") {
			got["last"] = strings.Join(strings.Fields(line)[1:3], " ")
		}
	}
	delete(got, "last")
	want := map[string]string{
		"enforced": "error: PolicyViolated", "enforced-too": "error: PolicyViolated", "exempt": "warning: PolicyExempt", "audited": "warning: PolicyWouldRefuse",
		"tried": "warning: PolicyWouldRefuse", "default": "warning: PolicyDefault", "missing": "warning: PolicyWouldRefuse",
	}
	if !maps.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

// TestAGoalSaysOfHowManyApplicationsItIs: all of two that pass say little where there are a
// thousand.
func TestAGoalSaysOfHowManyApplicationsItIs(t *testing.T) {
	a := assessed(t)
	if text := write(t, "text", a); !strings.Contains(text, "1 of 2 objects pass, 1 fails; about 2 of 2 Applications\n") || !strings.Contains(text, "; about 0 of 2 Applications\n") {
		t.Error(text)
	}
	if text := write(t, "markdown", a); !strings.Contains(text, "| not met | 2 of 2 | 1 | ") {
		t.Error(text)
	}
}

func TestAReportIsGoodWhenEveryGoalIsMetAndEveryPolicyCanBeApplied(t *testing.T) {
	good := assessment.Goal{State: "Met"}
	for _, c := range []struct {
		name string
		of   assessment.Assessment
		want bool
	}{
		{"nothing at all", assessment.Assessment{}, true},
		{"all is met", assessment.Assessment{Goals: []assessment.Goal{good}, Policies: []assessment.Policy{{State: "Met"}, {State: "NoEffect"}}, Findings: []assessment.Finding{{State: "Exempt"}}}, true},
		{"a goal that is not enforced", assessment.Assessment{Goals: []assessment.Goal{good, {State: "NotMet"}}}, false},
		{"a goal that nothing serves", assessment.Assessment{Goals: []assessment.Goal{{State: "NoEffect"}}}, false},
		{"a policy about nothing that cannot be applied", assessment.Assessment{Policies: []assessment.Policy{{State: "Unknown"}}}, false},
		{"a finding", assessment.Assessment{Findings: []assessment.Finding{{State: "Fail"}}}, false},
	} {
		if c.of.Good() != c.want {
			t.Errorf("%s: %v", c.name, !c.want)
		}
	}
}

// TestJUnitShowsWhatIsNotRefusedAsSkipped reads it as a CI server does, which shows a case
// as passed, failed, in error or skipped, and nothing else at a glance.
func TestJUnitShowsWhatIsNotRefusedAsSkipped(t *testing.T) {
	type outcome struct {
		Message string `xml:"message,attr"`
	}
	var got struct {
		Tests    int `xml:"tests,attr"`
		Failures int `xml:"failures,attr"`
		Errors   int `xml:"errors,attr"`
		Skipped  int `xml:"skipped,attr"`
		Suites   []struct {
			Name       string `xml:"name,attr"`
			Properties []struct {
				Name  string `xml:"name,attr"`
				Value string `xml:"value,attr"`
			} `xml:"properties>property"`
			Cases []struct {
				Name    string   `xml:"name,attr"`
				Class   string   `xml:"classname,attr"`
				Failure *outcome `xml:"failure"`
				Error   *outcome `xml:"error"`
				Skipped *outcome `xml:"skipped"`
			} `xml:"testcase"`
		} `xml:"testsuite"`
	}
	if err := xml.Unmarshal([]byte(write(t, "junit", assessed(t))), &got); err != nil {
		t.Fatal(err)
	}
	var cases []string
	for _, suite := range got.Suites {
		for _, c := range suite.Cases {
			word := "passed"
			switch {
			case c.Failure != nil:
				word = "failed"
			case c.Error != nil:
				word = "error"
			case c.Skipped != nil:
				before, _, _ := strings.Cut(c.Skipped.Message, ":")
				word = "skipped " + before
			}
			cases = append(cases, strings.TrimPrefix(c.Class, "ClusterPolicyBinding ")+" "+c.Name+" "+word)
		}
	}
	want := []string{
		"audited Application shop/good passed", "audited Application shop/other skipped only reported (Audit)",
		"default Application shop/good passed", "default Application shop/other skipped not refused (a default)",
		"enforced Application shop/good passed", "enforced Application shop/other failed",
		"enforced-too Application shop/good passed", "enforced-too Application shop/other failed",
		"exempt Application shop/good passed", "exempt Application shop/other skipped exempt until 2027-01-02T12",
		"missing Application shop/good skipped would be refused (Shadow)", "missing Application shop/other skipped would be refused (Shadow)",
		"tried Application shop/good passed", "tried Application shop/other skipped would be refused (Shadow)",
	}
	if !slices.Equal(cases, want) {
		t.Errorf("got\n%s", strings.Join(cases, "\n"))
	}
	if got.Tests != 14 || got.Failures != 2 || got.Errors != 0 || got.Skipped != 6 {
		t.Errorf("%d tests, %d failures, %d errors, %d skipped", got.Tests, got.Failures, got.Errors, got.Skipped)
	}
	if p := got.Suites[2].Properties; len(p) == 0 || !slices.ContainsFunc(p, func(one struct {
		Name  string `xml:"name,attr"`
		Value string `xml:"value,attr"`
	}) bool {
		return one.Name == "goals" && one.Value == "named"
	}) {
		t.Errorf("%+v", p)
	}
}

func TestJUnitHasWhatIsClosedSinceItCannotBeToldAsAnError(t *testing.T) {
	if text := write(t, "junit", assessedWith(t, v1alpha1.ModeEnforce)); !strings.Contains(text, `failures="3" errors="2"`) || !strings.Contains(text, `<error message="what this policy asks for cannot be told`) {
		t.Error(text)
	}
}

// TestSARIFHasARuleForEachRuleOfAPolicy holds it to what GitHub's code scanning asks of
// rules and results (docs.github.com, SARIF support for code scanning).
func TestSARIFHasARuleForEachRuleOfAPolicy(t *testing.T) {
	type text struct{ Text string }
	var log struct {
		Runs []struct {
			Tool struct {
				Driver struct {
					Rules []struct {
						ID                                      string
						ShortDescription, FullDescription, Help text
						HelpURI                                 string
						Properties                              struct {
							Tags     []string
							Severity string `json:"security-severity"`
						}
					}
				}
			}
			Results []struct {
				RuleID              string
				RuleIndex           int
				Level               string
				Message             text
				PartialFingerprints map[string]string
				Suppressions        []struct{ Kind, Status, Justification string }
			}
		}
	}
	if err := json.Unmarshal([]byte(write(t, "sarif", assessed(t))), &log); err != nil {
		t.Fatal(err)
	}
	run := log.Runs[0]
	var rules []string
	for _, r := range run.Tool.Driver.Rules {
		rules = append(rules, r.ID)
		if r.ShortDescription.Text == "" || r.FullDescription.Text == "" || r.Help.Text == "" {
			t.Errorf("%+v", r)
		}
	}
	if !slices.Equal(rules, []string{"good/kept", "nowhere"}) {
		t.Fatalf("rules %q", rules)
	}
	if r := run.Tool.Driver.Rules[0]; r.HelpURI != "https://example.com/names#good" || r.Properties.Severity != "8.0" || !slices.Contains(r.Properties.Tags, "pci-dss-4.0:6.5.3") || !slices.Contains(r.Properties.Tags, "security") {
		t.Errorf("%+v", r)
	}
	prints, suppressed := map[string]bool{}, 0
	for _, r := range run.Results {
		if run.Tool.Driver.Rules[r.RuleIndex].ID != r.RuleID || r.PartialFingerprints["primaryLocationLineHash"] == "" || strings.Contains(r.Message.Text, "..") {
			t.Errorf("%+v", r)
		}
		prints[r.PartialFingerprints["primaryLocationLineHash"]] = true
		if len(r.Suppressions) > 0 {
			suppressed++
			if one := r.Suppressions[0]; one.Kind != "external" || one.Status != "accepted" || !strings.Contains(one.Justification, "SHOP-1") || r.Level != "note" {
				t.Errorf("%+v", r)
			}
		}
	}
	if len(prints) != len(run.Results) || suppressed != 1 {
		t.Errorf("%d results have %d fingerprints, and %d are suppressed", len(run.Results), len(prints), suppressed)
	}
}

func TestCSVHasWhatPassesAndTheGoalsAndNoFormula(t *testing.T) {
	lines, err := csv.NewReader(strings.NewReader(write(t, "csv", assessed(t)))).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	column := func(name string) int { return slices.Index(lines[0], name) }
	states := map[string]int{}
	for _, line := range lines[1:] {
		states[line[column("state")]]++
		for _, cell := range line {
			if strings.ContainsAny(cell[:min(1, len(cell))], "=+-@") {
				t.Errorf("a formula: %s", cell)
			}
		}
		if line[column("binding")] == "ClusterPolicyBinding enforced" && (line[column("goals")] != "named" || line[column("mode")] != "Enforce") {
			t.Errorf("%q", line)
		}
	}
	if want := map[string]int{"Pass": 6, "Fail": 5, "Unknown": 2, "Exempt": 1, "NoEffect": 1}; !maps.Equal(states, want) {
		t.Errorf("states %v", states)
	}
}

func TestMarkdownOfStrangersIsNotRead(t *testing.T) {
	text := write(t, "markdown", assessed(t))
	for _, no := range []string{"[here]", "<img", " @team", `\|`, "are | good"} {
		if strings.Contains(text, no) {
			t.Errorf("%s stands in\n%s", no, text)
		}
	}
	if !strings.Contains(text, "<https://example.com/names#good>") || !strings.Contains(text, "officer@example.com") || !strings.Contains(text, "apps/other.yaml:3") {
		t.Error(text)
	}
}

// TestOSCALIsWhatTheModelAsks holds assessment results to the types of OSCAL 1.1.3 where
// what is written depends on what people state, and follows every reference.
func TestOSCALIsWhatTheModelAsks(t *testing.T) {
	a := assessed(t)
	text := write(t, "oscal", a)
	token := regexp.MustCompile(`^(\p{L}|_)(\p{L}|\p{N}|[.\-_])*$`)
	tokens := 0
	for _, m := range regexp.MustCompile(`"(?:control-id|target-id|name|type|state|reason|status)": "([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if tokens++; !token.MatchString(m[1]) {
			t.Errorf("%s is no token", m[0])
		}
	}
	if tokens < 20 {
		t.Errorf("%d tokens in\n%s", tokens, text)
	}
	defined, unique := map[string]bool{}, true
	for _, m := range regexp.MustCompile(`"uuid": "([0-9a-f-]*)"`).FindAllStringSubmatch(text, -1) {
		unique = unique && !defined[m[1]]
		defined[m[1]] = true
	}
	if !unique {
		t.Error("a UUID is of two things")
	}
	for _, m := range regexp.MustCompile(`"(?:observation-uuid|risk-uuid|subject-uuid)": "([^"]*)"|"href": "#([^"]*)"`).FindAllStringSubmatch(text, -1) {
		if !defined[m[1]+m[2]] {
			t.Errorf("%s leads nowhere", m[0])
		}
	}
	for _, want := range []string{`"target-id": "sc-7.21_obj"`, `"control-id": "sc-7.21"`, `"control-id": "pci-dss-4.0_6.5.3"`, `"deadline": "2027-01-02T12:00:00Z"`, `"status": "deviation-approved"`, `"status": "deviation-requested"`, "Nobody serves it"} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	uuid := func(text string) string {
		return regexp.MustCompile(`"uuid": "([^"]*)"`).FindStringSubmatch(text)[1]
	}
	if uuid(write(t, "oscal", a)) != uuid(text) {
		t.Error("equal assessments have different UUIDs")
	}
	a.Findings = a.Findings[1:]
	if uuid(write(t, "oscal", a)) == uuid(text) {
		t.Error("different assessments of one moment have one UUID")
	}
}
