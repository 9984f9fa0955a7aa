// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package monitoring

import (
	"bytes"
	"encoding/json"
	"fmt"

	"sigs.k8s.io/yaml"
)

// dashboard is one as people write it: what is shown, and nothing of how Grafana draws.
type dashboard struct {
	Title       string     `json:"title"`
	UID         string     `json:"uid"`
	Description string     `json:"description"`
	Variables   []variable `json:"variables"`
	Rows        []row      `json:"rows"`
}

// variable is one that a viewer chooses values of, all by default.
type variable struct {
	Name  string `json:"name"`
	Query string `json:"query"`
}

type row struct {
	Title  string  `json:"title"`
	Panels []panel `json:"panels"`
}

// panel is of a kind: timeseries by default, stat or table.
type panel struct {
	Title       string `json:"title"`
	Kind        string `json:"kind"`
	Description string `json:"description"`
	// Unit is one of Grafana's.
	Unit string `json:"unit"`
	// Width is of 24 columns.
	Width int `json:"width"`
	// Zero is "good" where anything else is shown in red.
	Zero string `json:"zero"`
	// Columns are the labels that a table shows, in order; Value is the value.
	Columns []string `json:"columns"`
	Queries []query  `json:"queries"`
}

type query struct {
	Expr   string `json:"expr"`
	Legend string `json:"legend"`
}

func readDashboard(text []byte) (*dashboard, error) {
	out := &dashboard{}
	if err := yaml.UnmarshalStrict(text, out); err != nil {
		return nil, fmt.Errorf("reading a dashboard: %w", err)
	}
	return out, nil
}

type object = map[string]any

// source is the data source that the viewer has chosen.
var source = object{"type": "prometheus", "uid": "${datasource}"}

const (
	columns = 24
	height  = 8
)

// grafana is the dashboard as Grafana 10 and later load it.
func (d *dashboard) grafana() ([]byte, error) {
	panels, err := d.panels()
	if err != nil {
		return nil, err
	}
	variables := []object{{"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus", "current": object{}}}
	for _, v := range d.Variables {
		variables = append(variables, object{
			"name": v.Name, "label": v.Name, "type": "query", "datasource": source, "query": object{"query": v.Query, "refId": v.Name},
			"refresh": 2, "sort": 1, "multi": true, "includeAll": true, "allValue": ".*", "current": object{"text": "All", "value": "$__all"},
		})
	}
	text, err := marshal(object{
		"title": d.Title, "uid": d.UID, "description": d.Description, "tags": []string{"trellis"}, "schemaVersion": 39, "editable": true,
		"time": object{"from": "now-6h", "to": "now"}, "refresh": "1m", "timezone": "browser",
		"links":      []object{{"title": "Trellis", "type": "dashboards", "tags": []string{"trellis"}, "asDropdown": true, "keepTime": true}},
		"templating": object{"list": variables}, "panels": panels,
	})
	if err != nil {
		return nil, fmt.Errorf("writing the dashboard %s: %w", d.Title, err)
	}
	return text, nil
}

// marshal leaves comparisons in expressions readable.
func marshal(o object) ([]byte, error) {
	var out bytes.Buffer
	encoder := json.NewEncoder(&out)
	encoder.SetEscapeHTML(false)
	encoder.SetIndent("", " ")
	err := encoder.Encode(o)
	return out.Bytes(), err
}

// panels lays rows out from left to right.
func (d *dashboard) panels() ([]object, error) {
	var out []object
	y := 0
	for _, r := range d.Rows {
		out = append(out, object{"id": len(out) + 1, "type": "row", "title": r.Title, "collapsed": false, "gridPos": object{"x": 0, "y": y, "w": columns, "h": 1}, "panels": []object{}})
		y++
		x := 0
		for i := range r.Panels {
			p := &r.Panels[i]
			if x+p.Width > columns {
				x, y = 0, y+height
			}
			drawn, err := p.grafana()
			if err != nil {
				return nil, err
			}
			drawn["id"], drawn["gridPos"] = len(out)+1, object{"x": x, "y": y, "w": p.Width, "h": height}
			out = append(out, drawn)
			x += p.Width
		}
		y += height
	}
	return out, nil
}

func (p *panel) grafana() (object, error) {
	if p.Width < 1 || p.Width > columns || len(p.Queries) == 0 {
		return nil, fmt.Errorf("drawing %s: a panel has a width of 1 to %d and a query", p.Title, columns)
	}
	defaults := object{"unit": p.Unit, "min": 0}
	overrides := []object{}
	out := object{"title": p.Title, "description": p.Description, "datasource": source}
	instant := true
	switch p.Kind {
	case "", "timeseries":
		instant, out["type"] = false, "timeseries"
		defaults["custom"] = object{"fillOpacity": 10, "showPoints": "never"}
		out["options"] = object{"legend": object{"displayMode": "list", "placement": "bottom"}, "tooltip": object{"mode": "multi", "sort": "desc"}}
	case "stat":
		out["type"] = "stat"
		steps := []object{{"color": "text", "value": nil}}
		if p.Zero == "good" {
			steps = []object{{"color": "green", "value": nil}, {"color": "red", "value": 1}}
		}
		defaults["thresholds"] = object{"mode": "absolute", "steps": steps}
		out["options"] = object{"reduceOptions": object{"calcs": []string{"lastNotNull"}}, "colorMode": "value", "graphMode": "none"}
	case "table":
		out["type"] = "table"
		delete(defaults, "unit")
		delete(defaults, "min")
		if p.Unit != "" {
			overrides = append(overrides, object{
				"matcher": object{"id": "byName", "options": "Value"}, "properties": []object{{"id": "unit", "value": p.Unit}},
			})
		}
		out["transformations"] = []object{
			{"id": "filterFieldsByName", "options": object{"include": object{"names": p.Columns}}},
			{"id": "organize", "options": object{"indexByName": order(p.Columns)}},
		}
	default:
		return nil, fmt.Errorf("drawing %s: %q is no kind of a panel", p.Title, p.Kind)
	}
	out["fieldConfig"] = object{"defaults": defaults, "overrides": overrides}
	out["targets"] = p.targets(instant)
	return out, nil
}

func order(names []string) map[string]int {
	out := map[string]int{}
	for i, name := range names {
		out[name] = i
	}
	return out
}

func (p *panel) targets(instant bool) []object {
	var out []object
	for i, q := range p.Queries {
		target := object{"refId": string(rune('A' + i)), "datasource": source, "expr": q.Expr, "legendFormat": q.Legend, "instant": instant, "range": !instant}
		if p.Kind == "table" {
			target["format"] = "table"
		}
		out = append(out, target)
	}
	return out
}
