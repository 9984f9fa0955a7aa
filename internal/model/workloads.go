// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package model

// label is one key and value; workloads are found by it.
type label struct{ key, value string }

// workloadIndex finds the workloads of one namespace by their labels.
type workloadIndex struct {
	all       []Workload
	byLabel   map[label][]int
	byAccount map[string]int
}

func newWorkloadIndex() *workloadIndex {
	return &workloadIndex{byLabel: make(map[label][]int), byAccount: make(map[string]int)}
}

func (x *workloadIndex) add(w Workload) {
	i := len(x.all)
	x.all = append(x.all, w)
	x.byAccount[w.ServiceAccount]++
	for k, v := range w.Labels {
		l := label{k, v}
		x.byLabel[l] = append(x.byLabel[l], i)
	}
}

// selected looks only at the workloads that carry the selector's rarest label,
// so that a namespace with thousands of workloads costs no more than one with few.
func (x *workloadIndex) selected(selector map[string]string) []Workload {
	var rarest []int
	first := true
	for k, v := range selector {
		with := x.byLabel[label{k, v}]
		if first || len(with) < len(rarest) {
			rarest, first = with, false
		}
	}
	var out []Workload
	for _, i := range rarest {
		if Selects(selector, x.all[i].Labels) {
			out = append(out, x.all[i])
		}
	}
	return out
}
