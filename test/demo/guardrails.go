// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/trellis-mesh/trellis/test/stack"
)

// denial is how Envoy names the rule that refused a request.
var denial = regexp.MustCompile(`ns\[([^\]]+)\]-policy\[([^\]]+)\]-rule\[(\d+)\]`)

// explain makes a request that is refused, and follows its trace to the field of
// the document that refuses it.
func (d *demo) explain(ctx context.Context) error {
	if _, err := d.https("GET", "/api/v1/products", "")(ctx); err != nil {
		return err
	}
	var match []string
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	err := stack.Until(limited, "the request to be in the gateway's access log", func(context.Context) error {
		text, err := os.ReadFile(d.gateway.AccessLog)
		if err != nil {
			return fmt.Errorf("reading the access log: %w", err)
		}
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		last := lines[len(lines)-1]
		if match = denial.FindStringSubmatch(last); match == nil || !strings.Contains(last, `"/api/v1/products"`) {
			return errors.New("not there yet")
		}
		return nil
	})
	if err != nil {
		return err
	}
	d.view.line("GET …/api/v1/products without a token was answered 403, and the gateway's access log says:")
	d.view.block("response_code_details: rbac_access_denied_matched_policy[" + match[0] + "]")
	arguments := []string{"-n", match[1], "get", "authorizationpolicy", match[2], "-o", `jsonpath={.metadata.annotations.trellis\.dev/origin}`}
	d.view.command("kubectl " + strings.Join(arguments, " "))
	text, err := d.run(ctx, nil, "kubectl", arguments...)
	if err != nil {
		return err
	}
	return d.showOrigin(text, match[3])
}

// showOrigin reads the documented form of the annotation, as any program may.
func (d *demo) showOrigin(annotation []byte, rule string) error {
	var origin struct {
		Objects, Fields []string
		Rules           [][]any
	}
	index, err := strconv.Atoi(rule)
	if err == nil {
		err = json.Unmarshal(annotation, &origin)
	}
	if err != nil {
		return fmt.Errorf("reading the origin of a rule: %w", err)
	}
	if index >= len(origin.Rules) || len(origin.Rules[index]) != 5 {
		return fmt.Errorf("reading the origin of a rule: %s has no rule %d", annotation, index)
	}
	entry := origin.Rules[index]
	object, okObject := entry[0].(float64)
	field, okField := entry[1].(float64)
	if !okObject || !okField || int(object) >= len(origin.Objects) || int(field) >= len(origin.Fields) {
		return fmt.Errorf("reading the origin of a rule: %v names nothing", entry)
	}
	d.view.line("Rule %d, reason %v, was stated by %s in %s (layer %v).",
		index, entry[4], origin.Objects[int(object)], origin.Fields[int(field)], entry[3])
	if entry[4] != "NoToken" {
		d.wrong++
		d.view.line("%s", d.view.style(red, "WRONG: the reason ought to be NoToken"))
	}
	return nil
}

// mistake applies a document that the platform's rules forbid.
func (d *demo) mistake(ctx context.Context) error {
	before, err := d.example("productpage/application.yaml")
	if err != nil {
		return err
	}
	document, err := replaced(before, "hostnames: [bookinfo]", "hostnames: [www]")
	if err != nil {
		return err
	}
	d.view.line("It would like a better name, which the platform keeps for the website team:")
	d.view.difference("hostnames: [bookinfo]", "hostnames: [www]")
	d.view.command("kubectl apply -f " + exampleFolder + "/productpage/application.yaml")
	_, err = d.run(ctx, bytes.NewReader(document), "kubectl", "apply", "-f", "-")
	if err == nil || !strings.Contains(err.Error(), "reserves the name www") {
		d.wrong++
		d.view.line("%s", d.view.style(red, fmt.Sprintf("WRONG: this ought to be refused because the name is reserved: %v", err)))
		return nil
	}
	_, says, _ := strings.Cut(err.Error(), "The Application")
	d.view.block("The Application" + says)
	return nil
}

// handEdit deletes the policy that asks for tokens at the gateway.
func (d *demo) handEdit(ctx context.Context) error {
	const policy = "trellis-host-public." + host + ".productpage." + applicationSpace + "-deny"
	// What the gateway refuses again already, the application's own proxy may not yet: it is
	// told at the same time, and by then only the gateway was asked.
	if err := d.await(ctx, "Ready", "-n", applicationSpace, "tapp/productpage"); err != nil {
		return err
	}
	started := time.Now()
	if err := d.kubectl(ctx, nil, "-n", gatewaySpace, "delete", "authorizationpolicy", policy); err != nil {
		return err
	}
	limited, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := stack.Until(limited, "the policy to be back", func(ctx context.Context) error {
		_, err := d.run(ctx, nil, "kubectl", "-n", gatewaySpace, "get", "authorizationpolicy", policy)
		return err
	})
	if err != nil {
		return err
	}
	d.view.line("It is back %.2f s after kubectl delete began.", time.Since(started).Seconds())
	d.view.header()
	d.record(question{
		who: "anybody", request: "GET …/api/v1/products", credential: "-", send: d.https("GET", "/api/v1/products", ""),
		want: []int{401, 403}, says: "the application's own proxy has the same rule, so this never was open",
	}.ask(ctx))
	arguments := []string{
		"-n", applicationSpace, "get", "events", "--field-selector", "reason=HandEditReverted",
		"-o", `jsonpath={range .items[*]}{.type} {.reason}: {.message}{"\n"}{end}`,
	}
	var events []byte
	err = stack.Until(limited, "the event that says so", func(ctx context.Context) error {
		events, err = d.run(ctx, nil, "kubectl", arguments...)
		if err == nil && len(events) == 0 {
			err = errors.New("no event yet")
		}
		return err
	})
	if err != nil {
		return err
	}
	d.view.command("kubectl -n " + applicationSpace + " get events --field-selector reason=HandEditReverted")
	d.view.block(string(events))
	return nil
}
