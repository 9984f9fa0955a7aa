// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";

import { box, columns, layout } from "./layout";

describe("columns", () => {
  it("places whom somebody calls right of the caller", () => {
    expect(Object.fromEntries(columns(["a", "b", "c"], [{ from: "a", to: "b" }, { from: "b", to: "c" }]))).toEqual({ a: 0, b: 1, c: 2 });
  });
  it("ends where services call each other in a circle", () => {
    expect(Object.fromEntries(columns(["a", "b"], [{ from: "a", to: "b" }, { from: "b", to: "a" }]))).toEqual({ a: 0, b: 1 });
  });
  it("leaves out links to what is not shown, and to oneself", () => {
    expect(Object.fromEntries(columns(["a"], [{ from: "a", to: "a" }, { from: "gone", to: "a" }]))).toEqual({ a: 0 });
  });
});

describe("layout", () => {
  it("puts no two boxes onto each other", () => {
    const ids = Array.from({ length: 40 }, (_, i) => `n${i}`);
    const links = ids.flatMap((from, i) => [{ from, to: ids[(i * 7 + 3) % 40] ?? "" }, { from, to: ids[(i * 11 + 5) % 40] ?? "" }]);
    const { nodes, width, height } = layout(ids, links);
    expect(nodes).toHaveLength(40);
    for (const a of nodes) {
      expect(a.x + box.width).toBeLessThanOrEqual(width);
      expect(a.y + box.height).toBeLessThanOrEqual(height);
      for (const b of nodes) {
        if (a.id !== b.id) expect(Math.abs(a.x - b.x) >= box.width || Math.abs(a.y - b.y) >= box.height).toBe(true);
      }
    }
  });
  it("orders a column by its callers, so that lines do not cross", () => {
    const { nodes } = layout(["a", "b", "x", "y"], [{ from: "a", to: "y" }, { from: "b", to: "x" }]);
    const y = (id: string) => nodes.find((node) => node.id === id)?.y ?? 0;
    expect(y("y")).toBeLessThan(y("x"));
  });
  it("takes a thousand services and five thousand links in a moment", () => {
    const ids = Array.from({ length: 1000 }, (_, i) => `n${i}`);
    const links = Array.from({ length: 5000 }, (_, i) => ({ from: ids[i % 1000] ?? "", to: ids[(i * 13 + 7) % 1000] ?? "" }));
    const begun = performance.now();
    layout(ids, links);
    expect(performance.now() - begun).toBeLessThan(500);
  });
  it("has room for nothing", () => {
    expect(layout([], []).nodes).toEqual([]);
  });
});
