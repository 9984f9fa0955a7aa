// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"flag"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/trellis-mesh/trellis/test/tool"
)

const (
	repository = "../.."
	shipped    = repository + "/charts/trellis/files/monitoring/"
	runbooks   = "https://github.com/trellis-mesh/trellis/blob/main/docs/guides/alerts.md#"
)

var update = flag.Bool("update", false, "write docs/reference/metrics.md and the chart's dashboards")

// holds holds a file to what it ought to be, or makes it that.
func holds(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(path)
	if err != nil || string(got) != want {
		t.Errorf("%s is not what it is made from (%v); run: go test ./test/monitoring -update", path, err)
	}
}

func metricsOf(t *testing.T) []*metric {
	t.Helper()
	all, err := catalogue()
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestThePageHasEveryMetricAsItIsRegistered(t *testing.T) {
	all := metricsOf(t)
	holds(t, repository+"/docs/reference/metrics.md", page(all))
	var used []string
	for _, m := range all {
		if m.kind == "unknown" || len(m.help) < 10 || !strings.HasSuffix(m.help, ".") {
			t.Errorf("%s is a %s that says %q", m.name, m.kind, m.help)
		}
		if strings.HasSuffix(m.name, "_total") != (m.kind == "counter") {
			t.Errorf("%s is a %s", m.name, m.kind)
		}
		used = append(used, m.labels...)
	}
	slices.Sort(used)
	var explained []string
	for _, l := range meanings {
		explained = append(explained, l[0])
	}
	if used = slices.Compact(used); !slices.Equal(used, explained) {
		t.Errorf("the labels are %q, and explained are %q", used, explained)
	}
}

// asked is a label in questions of package prometheus, and no metric.
const asked = "trellis_statistic"

// What is in the source and not registered here would be on no page.
func TestEveryNameInTheSourceIsOnThePage(t *testing.T) {
	text := page(metricsOf(t))
	name := regexp.MustCompile(`"(trellis_[a-z_]+)"`)
	found := 0
	err := filepath.WalkDir(repository+"/internal", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".go" || strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, match := range name.FindAllStringSubmatch(string(source), -1) {
			found++
			if match[1] != asked && !strings.Contains(text, "`"+match[1]+"`") {
				t.Errorf("%s has the metric %s: let registered in catalogue.go register it", path, match[1])
			}
		}
		return err
	})
	if err != nil || found < 30 {
		t.Errorf("found %d names, %v", found, err)
	}
}

// rule is one of the rules file.
type rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

func rulesOf(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile(shipped + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		t.Fatal(err)
	}
	var out []rule
	for _, g := range file.Groups {
		out = append(out, g.Rules...)
	}
	if len(out) < 20 {
		t.Fatalf("there are %d rules", len(out))
	}
	return out
}

func TestEveryAlertSaysHowBadItIsWhoseItIsAndWhatToDo(t *testing.T) {
	text, err := os.ReadFile(repository + "/docs/guides/alerts.md")
	if err != nil {
		t.Fatal(err)
	}
	sections := map[string]string{}
	for _, section := range strings.Split(string(text), "\n### ")[1:] {
		title, rest, _ := strings.Cut(section, "\n")
		body, _, _ := strings.Cut(rest, "\n## ")
		sections[title] = body
	}
	metrics := known(metricsOf(t))
	for _, r := range rulesOf(t) {
		if err := check(r.Expr, metrics); err != nil {
			t.Errorf("%s: %v", r.Alert, err)
		}
		if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
			t.Errorf("%s has the severity %q", r.Alert, r.Labels["severity"])
		}
		if !slices.Contains([]string{"application-developer", "platform-operator", "security-officer"}, r.Labels["role"]) {
			t.Errorf("%s has the role %q", r.Alert, r.Labels["role"])
		}
		if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Annotations["runbook_url"] != runbooks+strings.ToLower(r.Alert) {
			t.Errorf("%s has the annotations %v", r.Alert, r.Annotations)
		}
		section := sections[r.Alert]
		for _, part := range []string{"**It means**", "**Do**", "```sh"} {
			if !strings.Contains(section, part) {
				t.Errorf("docs/guides/alerts.md does not say %s of %s", part, r.Alert)
			}
		}
		delete(sections, r.Alert)
	}
	for title := range sections {
		t.Errorf("docs/guides/alerts.md has the section %s, and there is no such alert", title)
	}
}

func TestPromtoolTakesTheRulesAndEachAlertFiresWhenItShall(t *testing.T) {
	promtool, err := tool.Find("promtool", "stores")
	if err != nil {
		t.Fatal(err)
	}
	rules, err := os.ReadFile(shipped + "rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	cases, err := os.ReadFile("testdata/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rulesOf(t) {
		if !strings.Contains(string(cases), "alertname: "+r.Alert+"}") || !strings.Contains(string(cases), "alertname: "+r.Alert+"\n") {
			t.Errorf("there is no case in which %s fires, or none in which it does not", r.Alert)
		}
	}
	dir := t.TempDir()
	for name, text := range map[string][]byte{"rules.yaml": rules, "alerts.yaml": cases} {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, arguments := range [][]string{{"check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"}, {"test", "rules", "alerts.yaml"}} {
		command := exec.CommandContext(t.Context(), promtool, arguments...)
		command.Dir = dir
		if said, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", arguments, err, said)
		}
	}
}

// chosen puts values in place of what a viewer chooses.
var chosen = strings.NewReplacer("$__rate_interval", "5m", "$namespace", ".*", "$application", ".*")

// selected is the metric and label that a variable has its values from.
var selected = regexp.MustCompile(`^label_values\((.*), ([a-z_]+)\)$`)

func TestEveryPanelAsksForWhatThereIs(t *testing.T) {
	paths, err := filepath.Glob("dashboards/*.yaml")
	if err != nil || len(paths) != 3 {
		t.Fatalf("the dashboards are %v, %v: one for each role", paths, err)
	}
	metrics := known(metricsOf(t))
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		d, err := readDashboard(text)
		if err != nil {
			t.Fatal(err)
		}
		drawn, err := d.grafana()
		if err != nil {
			t.Fatal(err)
		}
		holds(t, shipped+"dashboards/"+strings.TrimSuffix(filepath.Base(path), ".yaml")+".json", string(drawn))
		for _, v := range d.Variables {
			found := selected.FindStringSubmatch(v.Query)
			if found == nil {
				t.Errorf("%s: the variable %s is asked for by %s", path, v.Name, v.Query)
				continue
			}
			if err := check("count by ("+found[2]+") ("+chosen.Replace(found[1])+")", metrics); err != nil {
				t.Errorf("%s: the variable %s: %v", path, v.Name, err)
			}
		}
		for _, r := range d.Rows {
			for i := range r.Panels {
				r.Panels[i].holds(t, metrics)
			}
		}
	}
}

// holds checks the expressions of a panel, and that the columns of a table exist.
func (p *panel) holds(t *testing.T, metrics map[string][]string) {
	t.Helper()
	for _, q := range p.Queries {
		expression := chosen.Replace(q.Expr)
		if err := check(expression, metrics); err != nil {
			t.Errorf("%s: %v", p.Title, err)
		}
		for _, c := range p.Columns {
			if c != "Value" && check("count by ("+c+") ("+expression+")", metrics) != nil {
				t.Errorf("%s: there is nothing in the column %s", p.Title, c)
			}
		}
	}
}

func TestAnExpressionThatAsksForNothingIsFound(t *testing.T) {
	metrics := known(metricsOf(t))
	for expression, says := range map[string]string{
		`sum(`:                                           "parsing",
		`trellis_object`:                                 "no metric trellis_object",
		`trellis_objects{kinds="Application"}`:           "no label kinds",
		`trellis_objects{kind="Service"}`:                "never Service",
		`sum by (namespace) (trellis_objects)`:           "label namespace",
		`trellis_rebuild_duration_seconds`:               "no metric",
		`trellis_object_condition{status=~"True|Flase"}`: "never Flase",
	} {
		if err := check(expression, metrics); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, and not %s", expression, err, says)
		}
	}
}
