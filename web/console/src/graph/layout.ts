// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Places the nodes of a graph in columns: who calls stands left of whom they call. It is
// the layered drawing of Sugiyama in its simplest form, without bends.

export interface Placed {
  id: string;
  x: number;
  y: number;
}

export interface Layout {
  nodes: Placed[];
  width: number;
  height: number;
}

export interface Link {
  from: string;
  to: string;
}

export const box = { width: 190, height: 40, across: 110, down: 18 } as const;

/**
 * The column of each node: one right of its leftmost caller's. Of a circle, the link that
 * closes it is not looked at, so that there is an end. Ids of links that are no node are
 * left out.
 */
export function columns(ids: readonly string[], links: readonly Link[]): Map<string, number> {
  const known = new Set(ids);
  const next = new Map<string, string[]>(ids.map((id) => [id, []]));
  const called = new Set<string>();
  for (const { from, to } of links) {
    if (!known.has(from) || !known.has(to) || from === to) continue;
    next.get(from)?.push(to);
    called.add(to);
  }
  const column = new Map<string, number>();
  // Breadth first: a node's column is its distance from those that nobody calls. A part in
  // which everybody is called begins at its first node.
  const spread = (start: readonly string[]) => {
    let front = start.filter((id) => !column.has(id));
    for (const id of front) column.set(id, 0);
    for (let depth = 1; front.length > 0; depth++) {
      const found = new Set(front.flatMap((id) => next.get(id) ?? []).filter((id) => !column.has(id)));
      for (const id of found) column.set(id, depth);
      front = [...found];
    }
  };
  spread(ids.filter((id) => !called.has(id)));
  for (const id of ids) spread([id]);
  return column;
}

/** Orders each column by where its callers stand, so that fewer lines cross, and places all. */
export function layout(ids: readonly string[], links: readonly Link[]): Layout {
  const column = columns(ids, links);
  const ranks: string[][] = [];
  for (const id of ids) (ranks[column.get(id) ?? 0] ??= []).push(id);
  const callers = new Map<string, string[]>();
  for (const { from, to } of links) {
    if (column.has(from) && column.has(to)) callers.set(to, [...(callers.get(to) ?? []), from]);
  }
  const row = new Map<string, number>();
  const nodes: Placed[] = [];
  let height = 0;
  ranks.forEach((rank, x) => {
    const middle = (id: string): number => {
      const rows = (callers.get(id) ?? []).flatMap((from) => row.get(from) ?? []);
      return rows.length === 0 ? Number.POSITIVE_INFINITY : rows.reduce((sum, n) => sum + n, 0) / rows.length;
    };
    const sorted = rank.map((id) => ({ id, at: middle(id) })).sort((a, b) => (a.at === b.at ? 0 : a.at - b.at));
    sorted.forEach(({ id }, y) => {
      row.set(id, y);
      nodes.push({ id, x: x * (box.width + box.across) + 10, y: y * (box.height + box.down) + 10 });
    });
    height = Math.max(height, sorted.length);
  });
  return { nodes, width: ranks.length * (box.width + box.across) - box.across + 20, height: height * (box.height + box.down) + 10 };
}
