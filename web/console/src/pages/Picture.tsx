// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { useMemo } from "react";
import { Link } from "react-router";

import type { Edge, GraphNode } from "../api/types";
import { box, layout, type Placed } from "../graph/layout";
import { words } from "../parts/format";

interface Props {
  nodes: readonly GraphNode[];
  edges: readonly Edge[];
  names: ReadonlyMap<string, string>;
  chosen: string;
  to: (edge: Edge) => string;
}

/** The picture of the graph. The table below it has the same for whoever does not see it. */
export function Picture({ nodes, edges, names, chosen, to }: Props) {
  const placed = useMemo(() => layout(nodes.map((node) => node.id), edges), [nodes, edges]);
  const at = useMemo(() => new Map(placed.nodes.map((node) => [node.id, node])), [placed]);
  return (
    <div className="graph" tabIndex={0} role="region" aria-label="Picture of the graph; the table below it says the same">
      <svg width={placed.width} height={placed.height} role="group" aria-label="Services and who may use them">
        <defs>
          <marker id="tip" viewBox="0 0 8 8" refX="8" refY="4" markerUnits="userSpaceOnUse" markerWidth="10" markerHeight="10" orient="auto"><path d="M0 0 8 4 0 8z" fill="context-stroke" /></marker>
        </defs>
        {edges.map((edge) => {
          const [from, end] = [at.get(edge.from), at.get(edge.to)];
          if (from === undefined || end === undefined) return null;
          const key = `${edge.from}→${edge.to}`;
          const says = `${names.get(edge.from) ?? edge.from} to ${names.get(edge.to) ?? edge.to}: ${words(edge.status)}, ${words(edge.security)}`;
          const path = curve(from, end);
          return (
            <Link key={key} to={to(edge)} aria-label={says} className={`${edge.status} ${key === chosen ? "chosen" : ""}`}>
              <title>{says}</title>
              <path className="reach" d={path} />
              <path className="line" d={path} markerEnd="url(#tip)" />
            </Link>
          );
        })}
        {nodes.map((node) => {
          const place = at.get(node.id);
          return place === undefined ? null : <Box key={node.id} node={node} place={place} />;
        })}
      </svg>
    </div>
  );
}

function Box({ node, place }: { node: GraphNode; place: Placed }) {
  return (
    <g transform={`translate(${place.x} ${place.y})`}>
      <title>{`${node.kind} ${node.namespace ?? ""} ${node.name}${node.unproxied === true ? ", without a proxy of the mesh" : ""}`}</title>
      <rect className="box" width={box.width} height={box.height} rx={node.kind === "Gateway" ? 20 : 4} strokeDasharray={node.unproxied === true ? "3 3" : undefined} />
      <text x={10} y={17}>{cut(node.name)}</text>
      <text x={10} y={33} opacity={0.85}>{cut(node.namespace ?? node.kind)}</text>
    </g>
  );
}

function cut(text: string): string {
  return text.length > 26 ? `${text.slice(0, 25)}…` : text;
}

/** From the right side of one box to the left of another; back around for what is not to the right. */
function curve(from: Placed, to: Placed): string {
  const [x1, y1, y2] = [from.x + box.width, from.y + box.height / 2, to.y + box.height / 2];
  if (to.x > from.x) return `M${x1} ${y1}C${x1 + box.across / 2} ${y1} ${to.x - box.across / 2} ${y2} ${to.x} ${y2}`;
  const x2 = to.x + box.width;
  const bend = box.across / 2 + Math.abs(y1 - y2) / 12;
  return `M${x1} ${y1}C${x1 + bend} ${y1} ${x2 + bend} ${y2} ${x2} ${y2}`;
}
