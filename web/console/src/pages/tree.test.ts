// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";

import type { Node } from "../api/types";
import { above, depthOf, rowsOf } from "./tree";

const rule: Node = { kind: "Rule", name: "ns[a]-policy[b]-rule[0]" };
const tree: Node[] = [
  { kind: "Goal", name: "logins", below: [{ kind: "PolicyBinding", name: "a/b", below: [{ kind: "Application", name: "shop/cart", below: [{ kind: "AuthorizationPolicy", name: "x/y", below: [rule] }] }] }] },
  { kind: "Goal", name: "tests" },
];
const shown = (depth: number, toggled: [string, boolean][] = [], most = 10) => rowsOf(tree, depth, new Map(toggled), most).map((row) => row.node.name);

describe("rowsOf", () => {
  it("opens down to the layer of a role", () => {
    expect(shown(depthOf("goal"))).toEqual(["logins", "tests"]);
    expect(shown(depthOf("policy"))).toEqual(["logins", "a/b", "tests"]);
    expect(shown(depthOf("application"))).toEqual(["logins", "a/b", "shop/cart", "tests"]);
    expect(shown(depthOf("rule"))).toContain(rule.name);
  });
  it("keeps closed what was closed by hand", () => {
    expect(shown(4, [["Goal logins", false]])).toEqual(["logins", "tests"]);
  });
  it("opens what is above a link", () => {
    const key = rowsOf(tree, 4, new Map(), 10).find((row) => row.node === rule)?.key ?? "";
    expect(shown(0, above(key).map((one) => [one, true]))).toContain(rule.name);
  });
  it("shows no more of a level than is asked for, and says how many there are", () => {
    const many = Array.from({ length: 1000 }, (_, i) => ({ kind: "Goal", name: `g${i}` }));
    const rows = rowsOf(many, 4, new Map(), 50);
    expect([rows.length, rows[0]?.siblings]).toEqual([50, 1000]);
  });
});
