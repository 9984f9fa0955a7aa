// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { FormSelect, FormSelectOption, Title, Toolbar, ToolbarContent, ToolbarItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link, useSearchParams } from "react-router";

import { withQuery } from "../api/client";
import { useAnswer, useSession } from "../api/session";
import { listOf, type HitRow, type Hits, type Sample, type Samples } from "../api/types";
import { Command, live } from "../parts/Command";
import { CountHeads, Gaps, GapsOf, Moment, SinceChoice, useSince } from "../parts/Counts";
import { count, plural, words } from "../parts/format";
import { Answered, Frame, Nothing, Notes, Redacted } from "../parts/Frame";
import { toApplication, toCounts, toExplain, toStatement } from "../parts/links";

const layers = [["goal", "Goals"], ["policy", "Policies"], ["application", "Applications"], ["route", "Routes"], ["rule", "Statements"], ["exception", "Exceptions"]] as const;

/** More rows than that are cut: the filters find the others. */
const most = 200;

/** The question that numbers on other pages answer: how often was each line hit? */
export function CountsPage() {
  const { me } = useSession();
  const [query, setQuery] = useSearchParams();
  const since = useSince();
  const by = query.get("by") ?? "application";
  const [namespace, application, name] = [query.get("namespace") ?? "", query.get("application") ?? "", query.get("name") ?? ""];
  const asked = useAnswer<Hits>(me.collects ? withQuery("hits", { by, namespace, application, since }) : null);
  const tools = (
    <Toolbar>
      <ToolbarContent>
        <ToolbarItem>
          <FormSelect
            aria-label="Counted by" value={by} className="narrow"
            onChange={(_, value) => {
              setQuery((before) => {
                before.set("by", value);
                before.delete("name");
                return before;
              });
            }}
          >
            {layers.map(([value, label]) => <FormSelectOption key={value} value={value} label={label} />)}
          </FormSelect>
        </ToolbarItem>
        <ToolbarItem><SinceChoice /></ToolbarItem>
        {(namespace !== "" || name !== "") && <ToolbarItem>Only {name || [namespace, application].filter(Boolean).join("/")}. <Link to={toCounts(by, { since })}>All</Link></ToolbarItem>}
      </ToolbarContent>
    </Toolbar>
  );
  return (
    <Frame title="Counts" says="How often each line that somebody wrote was hit, in the order of the numbers that trellis hits gives." tools={tools}>
      {!me.collects && <Gaps since={since} />}
      <Answered asked={asked}>
        {(hits) => <Rows hits={hits} name={name} />}
      </Answered>
      {me.collects && <Newest question={withQuery("samples", { namespace, application, since })} />}
      <Command text={`trellis hits --by ${by} --since ${since} ${live}`} />
    </Frame>
  );
}

function Rows({ hits, name }: { hits: Hits; name: string }) {
  const rows = listOf(hits.rows).filter((row) => name === "" || row.name === name);
  // A line that is new was not hit for as long as others.
  const aged = rows.some((row) => row.since !== undefined);
  return (
    <>
      <GapsOf hits={hits} />
      <Redacted of={hits.redacted} />
      <Notes notes={hits.notes} />
      {rows.length === 0 ? <Nothing title="There is no line to count">Nothing of this layer is stated, or you may not read it. Choose another layer above.</Nothing> : (
        <Table variant="compact" role="table" aria-label="Counts">
          <Thead><Tr><Th className="number" modifier="fitContent">Number</Th><Th>Line</Th><CountHeads />{aged && <Th modifier="fitContent">In force since</Th>}</Tr></Thead>
          <Tbody>{rows.slice(0, most).map((row) => <Line aged={aged} key={`${row.num} ${row.name ?? ""}${row.application ?? ""}${row.route ?? ""}${row.statement ?? ""}${row.field ?? ""}${row.reason ?? ""}`} row={row} />)}</Tbody>
        </Table>
      )}
      <p className="quiet">
        {rows.length > most && <>The first {most} of {plural(rows.length, "line")}. </>}
        Made of {plural(hits.entries, "request")}
        {listOf(hits.unknown).map((one) => <span key={one.why}>; {count(one.entries)} belong to no line ({one.why})</span>)}.
      </p>
    </>
  );
}

function Line({ row, aged }: { row: HitRow; aged: boolean }) {
  return (
    <Tr>
      <Td dataLabel="Number" className="number">{row.num > 0 ? row.num : ""}</Td>
      <Td dataLabel="Line" className="long"><Name row={row} /></Td>
      <Td dataLabel="Allowed" className="number">{count(row.allowed)}</Td>
      <Td dataLabel="Denied" className="number">{count(row.denied)}</Td>
      <Td dataLabel="Would deny" className="number">{count(row.wouldDeny)}</Td>
      <Td dataLabel="Last" modifier="nowrap">{row.last === undefined ? <span className="quiet">never</span> : <Moment at={row.last} />}</Td>
      {aged && <Td dataLabel="In force since" modifier="nowrap">{row.since !== undefined && <Moment at={row.since} />}</Td>}
    </Tr>
  );
}

/** A few of the requests behind the numbers, each with what finds it in a log. */
function Newest({ question }: { question: string }) {
  const asked = useAnswer<Samples>(question);
  const samples = listOf(asked.answer?.samples).slice(0, 20);
  if (samples.length === 0) return null;
  return (
    <>
      <Title headingLevel="h2" size="lg">Newest requests</Title>
      <p className="quiet">Examples of what was counted. The id finds the line in your access log; who asked for what path is nowhere here.</p>
      <Table variant="compact" role="table" aria-label="Newest requests">
        <Thead><Tr><Th>When</Th><Th>Verdict</Th><Th>Request</Th><Th>Application</Th><Th>From</Th><Th>By</Th><Th>Id</Th></Tr></Thead>
        <Tbody>{samples.map((one) => <Example key={`${one.at} ${one.verdict} ${one.requestID ?? ""} ${one.place} ${one.statement ?? ""}`} of={one} />)}</Tbody>
      </Table>
    </>
  );
}

function Example({ of }: { of: Sample }) {
  return (
    <Tr>
      <Td dataLabel="When" modifier="nowrap"><Moment at={of.at} /></Td>
      <Td dataLabel="Verdict">{words(of.verdict)}</Td>
      <Td dataLabel="Request">{of.method} {of.code}</Td>
      <Td dataLabel="Application" className="long">{of.application !== undefined && <Link to={toApplication(of.application)}>{of.application}</Link>} {of.route}</Td>
      <Td dataLabel="From" className="long">{of.peer}</Td>
      <Td dataLabel="By" className="long">{of.statement === undefined ? <span className="quiet">{of.reason ?? "nobody's"}</span> : <><Link to={toStatement(of.statement)}>{of.statement}</Link> {of.field}</>}</Td>
      <Td dataLabel="Id" className="long">{of.requestID}</Td>
    </Tr>
  );
}

function Name({ row }: { row: HitRow }) {
  if (row.name !== undefined) return row.name.includes(" ") ? <>{row.name}</> : <Link to={withQuery("/layers", { goal: row.name })}>{row.name}</Link>;
  if (row.application !== undefined && row.route !== undefined) return <Link to={toExplain(`${row.application}/${row.route}`)}>{row.application} {row.route}</Link>;
  if (row.application !== undefined) return <Link to={toApplication(row.application)}>{row.application}</Link>;
  if (row.statement !== undefined) return <><Link to={toStatement(row.statement)}>{row.statement}</Link> {row.field}</>;
  return <span className="quiet">{row.reason ?? "nobody's"}</span>;
}
