// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Button, ToggleGroup, ToggleGroupItem, Toolbar, ToolbarContent, ToolbarItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr, TreeRowWrapper, type TdProps } from "@patternfly/react-table";
import { useEffect, useMemo, useState } from "react";
import { Link, useSearchParams } from "react-router";

import { withQuery } from "../api/client";
import { useAnswer, useSession } from "../api/session";
import { listOf, type Node } from "../api/types";
import { CountCells, CountHeads, Gaps, SinceChoice, useSince } from "../parts/Counts";
import { Command, live } from "../parts/Command";
import { Answered, Frame, Nothing, Redacted } from "../parts/Frame";
import { toCounts, toExplain, toObject } from "../parts/links";
import { State } from "../parts/State";
import { above, depthOf, rowsOf, widest, type Row } from "./tree";

const layers = [["goal", "Goals"], ["policy", "Policies"], ["application", "Applications"], ["object", "Objects"], ["rule", "Rules"]] as const;

/** How many of one level are shown at first: more would be slow, and nobody reads them. */
const page = 50;

/** From a goal down to the counter of a rule, and back up by opening what is above. */
export function LayersPage() {
  const { me } = useSession();
  const [query, setQuery] = useSearchParams();
  const since = useSince();
  const goal = query.get("goal") ?? "";
  const layer = query.get("layer") ?? { security: "policy", platform: "policy", application: "application" }[me.layer] ?? "policy";
  const asked = useAnswer<Node[]>(withQuery("tree", { goal, since }));
  const choose = (value: string) => {
    setQuery((before) => {
      before.set("layer", value);
      before.delete("open");
      return before;
    });
  };
  const tools = (
    <Toolbar>
      <ToolbarContent>
        <ToolbarItem>
          <ToggleGroup aria-label="Open down to">
            {layers.map(([value, name]) => <ToggleGroupItem key={value} text={name} buttonId={`layer-${value}`} isSelected={layer === value} onChange={() => { choose(value); }} />)}
          </ToggleGroup>
        </ToolbarItem>
        <ToolbarItem><SinceChoice /></ToolbarItem>
        {goal !== "" && <ToolbarItem><Link to="/layers">All goals</Link></ToolbarItem>}
      </ToolbarContent>
    </Toolbar>
  );
  return (
    <Frame title={goal === "" ? "Layers" : `Goal ${goal}`} says="From what somebody wants, through policies and Applications, to the rules of proxies and how often they were hit." tools={tools}>
      <Gaps since={since} />
      <Answered asked={asked}>
        {(nodes) => nodes.length === 0 ? <NoGoals /> : <Tree key={`${layer} ${goal}`} nodes={nodes} depth={depthOf(layer)} since={since} />}
      </Answered>
      <Command text={`trellis tree ${goal === "" ? "" : `${goal} `}${live}`} />
    </Frame>
  );
}

function NoGoals() {
  return (
    <Nothing title="No goals and no policies" action={<Link to="/applications">See the Applications</Link>}>
      Nobody has stated a Goal, and no policy holds anything. A security officer begins with a Goal and a ClusterPolicyBinding that serves it.
    </Nothing>
  );
}

function Tree({ nodes, depth, since }: { nodes: readonly Node[]; depth: number; since: string }) {
  const [query] = useSearchParams();
  const marked = query.get("open") ?? "";
  const [toggled, setToggled] = useState<ReadonlyMap<string, boolean>>(() => new Map(marked === "" ? [] : [...above(marked), marked].map((key) => [key, true])));
  const [details, setDetails] = useState<ReadonlySet<string>>(new Set());
  const [most, setMost] = useState(page);
  const rows = useMemo(() => rowsOf(nodes, depth, toggled, most), [nodes, depth, toggled, most]);
  const shown = rows.slice(0, most * 2);
  useEffect(() => {
    if (marked !== "") document.querySelector(".marked")?.scrollIntoView({ block: "center" });
  }, [marked]);
  const toggle = (row: Row) => { setToggled(new Map(toggled).set(row.key, !row.open)); };
  const detail = (key: string) => {
    const next = new Set(details);
    if (!next.delete(key)) next.add(key);
    setDetails(next);
  };
  return (
    <>
      <Redacted of={rows.some((row) => row.node.redacted)} />
      <Table isTreeTable variant="compact" aria-label="Goals and what became of them">
        <Thead>
          <Tr><Th width={35}>Layer</Th><Th modifier="fitContent">State</Th><Th width={30}>Says</Th><CountHeads /></Tr>
        </Thead>
        <Tbody>
          {shown.map((row, i) => (
            <TreeLine
              key={row.key} row={row} index={i} since={since} marked={row.key === marked} detailed={details.has(row.key)}
              toggle={() => { toggle(row); }} detail={() => { detail(row.key); }}
            />
          ))}
        </Tbody>
      </Table>
      {(widest(rows) > most || rows.length > shown.length) && (
        <Button variant="link" onClick={() => { setMost(most + page); }}>Show more: these are {shown.length} rows, and of each level its first {most}</Button>
      )}
    </>
  );
}

interface LineProps { row: Row; index: number; since: string; marked: boolean; detailed: boolean; toggle: () => void; detail: () => void }

function TreeLine({ row, index, since, marked, detailed, toggle, detail }: LineProps) {
  const { node } = row;
  // PatternFly opens and closes what has a size of its set, which is that of its children.
  const props = {
    isExpanded: row.open, isDetailsExpanded: detailed, isHidden: false,
    "aria-level": row.level, "aria-posinset": row.position, "aria-setsize": listOf(node.below).length,
  };
  const treeRow: TdProps["treeRow"] = { onCollapse: toggle, onToggleRowDetails: detail, rowIndex: index, props };
  return (
    <TreeRowWrapper row={{ props }} className={marked ? "marked" : ""}>
      <Td dataLabel="Layer" treeRow={treeRow}>
        <span className="quiet">{kind(node.kind)}</span> <Link className="long" to={target(node, since)}>{node.name}</Link>{" "}
        <Link to={withQuery("/layers", { open: row.key, since })} aria-label={`Link to ${node.kind} ${node.name}`} className="quiet">#</Link>
      </Td>
      <Td dataLabel="State">{node.state !== undefined && <State of={node.state} />}{node.redacted === true && <span className="quiet"> (partly left out)</span>}</Td>
      <Td dataLabel="Says" className="long">{node.says}</Td>
      {counted(node) ? <CountCells hits={node.hits} to={counts(node, since)} /> : <><Td dataLabel="Allowed" /><Td dataLabel="Denied" /><Td dataLabel="Would deny" /><Td dataLabel="Last" /></>}
    </TreeRowWrapper>
  );
}

/** Objects and what policies say of them have no counter of their own. */
function counted(node: Node): boolean {
  return ["Goal", "ClusterPolicyBinding", "PolicyBinding", "Application", "Rule"].includes(node.kind);
}

function kind(of: string): string {
  return of.endsWith("PolicyBinding") ? "Policy" : of;
}

function target(node: Node, since: string): string {
  switch (node.kind) {
    case "Goal": return withQuery("/layers", { goal: node.name, since });
    case "SecureIngress": return "/doors";
    case "Rule": return toExplain(node.name);
    default: return toObject(node.kind, node.name);
  }
}

/** The question that a node's numbers answer. */
function counts(node: Node, since: string): string {
  const [namespace = "", application = ""] = node.name.split("/");
  switch (node.kind) {
    case "Goal": return toCounts("goal", { since, name: node.name });
    case "Application": return toCounts("rule", { since, namespace, application });
    case "Rule": return toExplain(node.name);
    default: return toCounts("policy", { since, name: `${node.kind} ${node.name}` });
  }
}
