// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// The tree of goals as rows of a table: which are shown, and by which name a link opens one.

import { listOf, type Node } from "../api/types";

export interface Row {
  node: Node;
  /** Tells the row from all others, and is the same for as long as names are. */
  key: string;
  level: number;
  position: number;
  siblings: number;
  open: boolean;
}

/** Separates the steps of a key; no name of Kubernetes or Envoy has it. */
const separator = "›";

function step(node: Node): string {
  return `${node.kind} ${node.name}`;
}

/** The keys of everything above a key. */
export function above(key: string): string[] {
  const steps = key.split(separator);
  return steps.slice(0, -1).map((_, i) => steps.slice(0, i + 1).join(separator));
}

/** How deep the tree is open at the layer of a role: its own statements are the last that show. */
export function depthOf(layer: string): number {
  return { goal: 0, security: 1, policy: 1, platform: 1, application: 2, object: 3, rule: 4 }[layer] ?? 1;
}

/**
 * The rows that show: everything down to a depth, and what was opened by hand. What was
 * closed by hand stays closed. A level shows as many as most; Row.siblings has all.
 */
export function rowsOf(nodes: readonly Node[], depth: number, toggled: ReadonlyMap<string, boolean>, most: number): Row[] {
  const out: Row[] = [];
  const walk = (list: readonly Node[], level: number, parent: string) => {
    list.slice(0, most).forEach((node, i) => {
      const key = parent === "" ? step(node) : parent + separator + step(node);
      const below = listOf(node.below);
      const open = below.length > 0 && (toggled.get(key) ?? level <= depth);
      out.push({ node, key, level, position: i + 1, siblings: list.length, open });
      if (open) walk(below, level + 1, key);
    });
  };
  walk(nodes, 1, "");
  return out;
}

/** The largest number of siblings in what shows: beyond a limit the page says that some are left out. */
export function widest(rows: readonly Row[]): number {
  return rows.reduce((most, row) => Math.max(most, row.siblings), 0);
}
