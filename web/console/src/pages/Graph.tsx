// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Alert, Checkbox, FormSelect, FormSelectOption, Toolbar, ToolbarContent, ToolbarItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useMemo } from "react";
import { Link, useSearchParams } from "react-router";

import { withQuery } from "../api/client";
import { useAnswer, useSession } from "../api/session";
import { listOf, type Edge, type Graph, type GraphNode } from "../api/types";
import { Command, live } from "../parts/Command";
import { words } from "../parts/format";
import { Answered, Frame, Nothing, Notes, Redacted } from "../parts/Frame";
import { State } from "../parts/State";
import { Check } from "./Check";
import { Picture } from "./Picture";

/** More than that is no picture any more: the table has them, and namespaces part them. */
const drawn = 120;
const listed = 100;

/** Who may use which service, and how that is secured. */
export function GraphPage() {
  const { me } = useSession();
  const [query, setQuery] = useSearchParams();
  const namespace = query.get("namespace") ?? "";
  const conflicts = query.get("conflicts") === "true";
  const asked = useAnswer<Graph>(withQuery("mtls/graph", { namespace }));
  const set = (name: string, value: string) => {
    setQuery((before) => {
      if (value === "") before.delete(name);
      else before.set(name, value);
      before.delete("edge");
      return before;
    });
  };
  const tools = (
    <Toolbar>
      <ToolbarContent>
        <ToolbarItem>
          <FormSelect aria-label="Services of namespace" value={namespace} className="narrow" onChange={(_, value) => { set("namespace", value); }}>
            <FormSelectOption value="" label="All namespaces" />
            {[...new Set([...listOf(me.namespaces), ...(namespace === "" ? [] : [namespace])])].map((one) => <FormSelectOption key={one} value={one} label={one} />)}
          </FormSelect>
        </ToolbarItem>
        <ToolbarItem><Checkbox id="conflicts" label="Only conflicts" isChecked={conflicts} onChange={(_, on) => { set("conflicts", on ? "true" : ""); }} /></ToolbarItem>
      </ToolbarContent>
    </Toolbar>
  );
  return (
    <Frame title="Graph" says="Who may use which service. A line says how it is secured; what does not fit is dashed, and has its reason and its fix behind it." tools={tools}>
      <Answered asked={asked}>{(graph) => <Shown graph={graph} conflicts={conflicts} />}</Answered>
      <Command text={`trellis mtls graph ${namespace === "" ? "" : `-n ${namespace} `}${live}`} />
    </Frame>
  );
}

function Shown({ graph, conflicts }: { graph: Graph; conflicts: boolean }) {
  const [query] = useSearchParams();
  const chosen = query.get("edge") ?? "";
  const names = useMemo(() => new Map(listOf(graph.nodes).map((node) => [node.id, nameOf(node)])), [graph]);
  const edges = useMemo(() => listOf(graph.edges).filter((edge) => !conflicts || edge.status === "CONFLICT" || edge.status === "PARTIAL"), [graph, conflicts]);
  const nodes = useMemo(() => {
    const ends = new Set(edges.flatMap((edge) => [edge.from, edge.to]));
    return listOf(graph.nodes).filter((node) => ends.has(node.id));
  }, [graph, edges]);
  const edge = edges.find((one) => edgeKey(one) === chosen);
  const to = (one: Edge) => {
    const next = new URLSearchParams(query);
    next.set("edge", edgeKey(one));
    return `/graph?${next.toString()}`;
  };
  if (edges.length === 0) {
    return (
      <>
        <Redacted of={graph.redacted} />
        <Notes notes={graph.notes} />
        <Nothing title={conflicts ? "No conflicts" : "Nobody may use any service here"}>
          {conflicts ? "All clients send what the services take, as far as it is known." : "No Service with workloads, and nobody who may call one, is known in this namespace. Choose another one above."}
        </Nothing>
      </>
    );
  }
  return (
    <>
      <Redacted of={graph.redacted} />
      <Notes notes={graph.notes} />
      {nodes.length <= drawn
        ? <Picture nodes={nodes} edges={edges} names={names} chosen={chosen} to={to} />
        : <Alert isInline component="h2" variant="info" title={`${nodes.length} services are too many for a picture: choose a namespace, or only conflicts. The table has all of them.`} />}
      {edge !== undefined && <Check edge={edge} from={names.get(edge.from) ?? edge.from} to={names.get(edge.to) ?? edge.to} />}
      <Lines edges={edges} names={names} to={to} />
    </>
  );
}

/** The same as a table: conflicts first. */
function Lines({ edges, names, to }: { edges: readonly Edge[]; names: ReadonlyMap<string, string>; to: (edge: Edge) => string }) {
  const order = ["CONFLICT", "PARTIAL", "UNKNOWN", "OK"];
  const sorted = [...edges].sort((a, b) => order.indexOf(a.status) - order.indexOf(b.status));
  return (
    <>
      <Table variant="compact" role="table" aria-label="Who may use which service">
        <Thead><Tr><Th>Client</Th><Th>Service</Th><Th modifier="fitContent">Status</Th><Th>Secured by</Th><Th>Ports</Th></Tr></Thead>
        <Tbody>
          {sorted.slice(0, listed).map((edge) => (
            <Tr key={edgeKey(edge)}>
              <Td dataLabel="Client" className="long">{names.get(edge.from) ?? edge.from}</Td>
              <Td dataLabel="Service" className="long">{names.get(edge.to) ?? edge.to}</Td>
              <Td dataLabel="Status"><Link to={to(edge)} aria-label={`${words(edge.status)}: ${names.get(edge.from) ?? ""} to ${names.get(edge.to) ?? ""}`}><State of={edge.status} /></Link></Td>
              <Td dataLabel="Secured by">{words(edge.security)}</Td>
              <Td dataLabel="Ports">{[...new Set(listOf(edge.ports).map((port) => port.port))].join(", ")}</Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      {sorted.length > listed && <p className="quiet">The first {listed} of {sorted.length}, the worst first. A namespace above shows its own.</p>}
    </>
  );
}

export function edgeKey(edge: Edge): string {
  return `${edge.from}→${edge.to}`;
}

export function nameOf(node: GraphNode): string {
  return node.namespace === undefined ? node.name : `${node.namespace}/${node.name}`;
}
