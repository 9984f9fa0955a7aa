// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package document_test

import (
	"strings"
	"testing"

	"github.com/trellis-mesh/trellis/internal/model"
)

// TestNamesOfLongTextsDoNotMakeADocumentLong: an alias takes three bytes, and what it stands
// for is in the object as often as it is named. 100 KiB would be 10 GiB here.
func TestNamesOfLongTextsDoNotMakeADocumentLong(t *testing.T) {
	long := "&a " + strings.Repeat("x", 100<<10)
	for name, spec := range map[string]string{
		"texts":         "a: " + long + "\n  b: [" + strings.Repeat("*a,", 10_000) + "]",
		"lists of text": "a: [" + long + "]\n  b: &b [" + strings.Repeat("*a,", 1000) + "]\n  c: [" + strings.Repeat("*b,", 100) + "]",
		"merged keys":   "a: &m {long: " + long + "}\n  b: [" + strings.Repeat("{<<: *m},", 10_000) + "]",
	} {
		t.Run(name, func(t *testing.T) {
			set := read(t, good+"spec:\n  "+spec+"\n")
			if len(set.Objects) != 0 || len(set.Findings) == 0 || set.Findings[0].Severity != model.SeverityError {
				t.Errorf("it has %d objects, and is found %+v", len(set.Objects), set.Findings)
			}
		})
	}
}

func TestNamesOfWhatIsShortAreRead(t *testing.T) {
	set := read(t, good+"spec:\n  a: &a {requests: {cpu: 100m, memory: 128Mi}}\n  b: [*a, *a, {<<: *a, more: 1}]\n")
	if len(set.Objects) != 1 || len(set.Findings) != 0 {
		t.Errorf("it has %d objects, and is found %+v", len(set.Objects), set.Findings)
	}
}

// TestAnObjectIsWhereItsReferenceSays: whoever decides by the reference who may give an object
// decides about that one.
func TestAnObjectIsWhereItsReferenceSays(t *testing.T) {
	for name, metadata := range map[string]string{
		"another namespace by an alias":   "{name: a, namespace: n, labels: {x: &k namespace}, *k : other}",
		"another name by an alias":        "{name: a, namespace: n, labels: {x: &k name}, *k : other}",
		"a namespace by a merge":          "{name: a, labels: &l {namespace: other}, <<: *l}",
		"the metadata of another by name": "{name: a, namespace: n, labels: {x: &m metadata}}\n*m : {name: a, namespace: other}",
	} {
		t.Run(name, func(t *testing.T) {
			for _, o := range read(t, "apiVersion: x/v1\nkind: Thing\nmetadata: "+metadata+"\n").Objects {
				value, err := o.Value()
				if err != nil {
					t.Fatal(err)
				}
				m, _ := value["metadata"].(map[string]any)
				if !o.Refused && (m["namespace"] != o.Ref.Namespace || m["name"] != o.Ref.Name) {
					t.Errorf("it is read as %s, and is %v", o.Ref, m)
				}
			}
		})
	}
}
