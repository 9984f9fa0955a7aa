// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Alert, FormSelect, FormSelectOption } from "@patternfly/react-core";
import { Td, Th } from "@patternfly/react-table";
import { Link, useSearchParams } from "react-router";

import { useAnswer, useNow, useSession } from "../api/session";
import { withQuery } from "../api/client";
import { listOf, type Hit, type Hits, type Interval } from "../api/types";
import { count, distance, interval } from "./format";
import { Notes } from "./Frame";

/** The columns of counts; denied and would-be denied are never added up. */
export function CountHeads() {
  return (
    <>
      <Th className="number" modifier="fitContent">Allowed</Th>
      <Th className="number" modifier="fitContent">Denied</Th>
      <Th className="number" modifier="fitContent">Would deny</Th>
      <Th modifier="fitContent">Last</Th>
    </>
  );
}

/** Counts of one line; each leads to the question that it answers. Nothing is known: no zero. */
export function CountCells({ hits, to }: { hits: Hit | undefined; to?: string }) {
  if (hits === undefined) {
    return (
      <>
        <Td dataLabel="Allowed" className="number"><NotCounted /></Td>
        <Td dataLabel="Denied" className="number"><NotCounted /></Td>
        <Td dataLabel="Would deny" className="number"><NotCounted /></Td>
        <Td dataLabel="Last"><NotCounted /></Td>
      </>
    );
  }
  return (
    <>
      <Td dataLabel="Allowed" className="number"><Figure n={hits.allowed} to={to} of="allowed" /></Td>
      <Td dataLabel="Denied" className="number"><Figure n={hits.denied} to={to} of="denied" /></Td>
      <Td dataLabel="Would deny" className="number"><Figure n={hits.wouldDeny} to={to} of="would be denied" /></Td>
      <Td dataLabel="Last" modifier="nowrap">{hits.last === undefined ? <span className="quiet">never</span> : <Moment at={hits.last} />}</Td>
    </>
  );
}

function NotCounted() {
  return <span className="quiet" title="Not counted"><span aria-hidden="true">–</span><span className="pf-v6-screen-reader">not counted</span></span>;
}

export function Figure({ n, to, of }: { n: number; to: string | undefined; of: string }) {
  if (to === undefined) return <>{count(n)}</>;
  return <Link to={to} aria-label={`${count(n)} ${of}: what was counted`}>{count(n)}</Link>;
}

/** A moment as its distance, with the exact time for whoever points at it. */
export function Moment({ at }: { at: string }) {
  return <time dateTime={at} title={new Date(at).toISOString()}>{distance(at, useNow())}</time>;
}

/** Says in which times nothing was counted, so that no zero is taken for silence. */
export function Gaps({ since }: { since: string }) {
  const { me } = useSession();
  const asked = useAnswer<Hits>(me.collects ? withQuery("hits", { by: "application", since }) : null);
  if (!me.collects) {
    return (
      <Alert isInline isPlain variant="info" component="h2" title="Requests are not counted: trellis-server takes no access logs. The values server.collector.enabled and server.hits.enabled of the chart turn it on." />
    );
  }
  if (asked.waiting) return <div aria-busy="true" />;
  return asked.answer === null ? null : <><GapsOf hits={asked.answer} />{listOf(asked.answer.ran).length > 0 && <Notes notes={asked.answer.notes} />}</>;
}

export function GapsOf({ hits }: { hits: Hits }) {
  const now = useNow();
  const gaps = listOf(hits.gaps).filter((gap) => !pending(gap, now));
  if (gaps.length === 0) return null;
  const shown = gaps.slice(-5);
  return (
    <Alert isInline variant="warning" component="h2" title={`Not counted: ${shown.map((gap) => interval(gap, now)).join(", ")}`} data-testid="gaps">
      {gaps.length > shown.length && <p>And {gaps.length - shown.length} earlier times. </p>}
      Nothing is known of these times: numbers leave them out, and zero does not mean that nothing happened then.
    </Alert>
  );
}

/** What was counted in the last minutes is on its way: that is no gap yet. */
function pending(gap: Interval, now: number): boolean {
  return now - Date.parse(gap.from) < 2 * 60_000;
}

const spans = [["1h", "last hour"], ["24h", "last 24 hours"], ["168h", "last 7 days"]] as const;

/** How far back counts go: part of the address, so that a link shows the same. */
export function useSince(): string {
  const [query] = useSearchParams();
  return query.get("since") ?? "24h";
}

export function SinceChoice() {
  const [, setQuery] = useSearchParams();
  const since = useSince();
  const known = spans.some(([value]) => value === since);
  return (
    <FormSelect
      aria-label="Counted in" value={since} className="narrow"
      onChange={(_, value) => {
        setQuery((query) => {
          query.set("since", value);
          return query;
        }, { replace: true });
      }}
    >
      {!known && <FormSelectOption value={since} label={`last ${since}`} />}
      {spans.map(([value, label]) => <FormSelectOption key={value} value={value} label={label} />)}
    </FormSelect>
  );
}
