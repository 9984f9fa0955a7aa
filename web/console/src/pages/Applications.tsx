// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Pagination, SearchInput, Toolbar, ToolbarContent, ToolbarItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useState } from "react";
import { Link, useSearchParams } from "react-router";

import { withQuery } from "../api/client";
import { useAnswer } from "../api/session";
import { listOf, type Applications, type Summary } from "../api/types";
import { Command, live } from "../parts/Command";
import { CountCells, CountHeads, Gaps, SinceChoice, useSince } from "../parts/Counts";
import { Answered, Frame, Nothing } from "../parts/Frame";
import { toApplication, toCounts } from "../parts/links";
import { State } from "../parts/State";

/** The Applications that the viewer may see, those that are not ready first. */
export function ApplicationsPage() {
  const since = useSince();
  const asked = useAnswer<Applications>(withQuery("applications", { since }));
  return (
    <Frame title="Applications" says="What each team has stated: where it is reached, whether it is in force, and how often it was used.">
      <Gaps since={since} />
      <Answered asked={asked}>
        {(answer) => listOf(answer.items).length === 0
          ? (
            <Nothing title="No Applications that you may see" action={<Command text="kubectl auth can-i get applications.trellis.dev --all-namespaces" />}>
              Either there are none yet, or you may read them in no namespace. The role trellis-application-developer in your namespace lets you.
            </Nothing>
          )
          : <List items={listOf(answer.items)} since={since} />}
      </Answered>
      <Command text={`trellis hits --by application --since ${since} ${live}`} />
    </Frame>
  );
}

function List({ items, since }: { items: readonly Summary[]; since: string }) {
  const [query, setQuery] = useSearchParams();
  const text = query.get("find") ?? "";
  const [page, setPage] = useState(1);
  const [perPage, setPerPage] = useState(20);
  const found = items.filter((item) => matches(item, text)).sort((a, b) => Number(a.ready) - Number(b.ready));
  const find = (value: string) => {
    setPage(1);
    setQuery((before) => {
      if (value === "") before.delete("find");
      else before.set("find", value);
      return before;
    }, { replace: true });
  };
  return (
    <>
      <Toolbar>
        <ToolbarContent>
          <ToolbarItem><SearchInput aria-label="Find by name, namespace or host" placeholder="Name, namespace or host" value={text} onChange={(_, value) => { find(value); }} onClear={() => { find(""); }} /></ToolbarItem>
          <ToolbarItem><SinceChoice /></ToolbarItem>
          <ToolbarItem variant="pagination">
            <Pagination
              itemCount={found.length} page={page} perPage={perPage} isCompact widgetId="applications" titles={{ paginationAriaLabel: "Pages of Applications" }}
              onSetPage={(_, n) => { setPage(n); }} onPerPageSelect={(_, n) => { setPerPage(n); setPage(1); }}
            />
          </ToolbarItem>
        </ToolbarContent>
      </Toolbar>
      {found.length === 0 && <Nothing title={`None of ${items.length} Applications is like “${text}”`}>Look for a part of a name, of a namespace or of a host.</Nothing>}
      {found.length > 0 && (
        <Table variant="compact" role="table" aria-label="Applications">
          <Thead><Tr><Th>Application</Th><Th>Hosts</Th><Th width={35}>State</Th><CountHeads /></Tr></Thead>
          <Tbody>{found.slice((page - 1) * perPage, page * perPage).map((item) => <Line key={`${item.namespace}/${item.name}`} item={item} since={since} />)}</Tbody>
        </Table>
      )}
    </>
  );
}

function matches(item: Summary, text: string): boolean {
  return [`${item.namespace}/${item.name}`, ...listOf(item.hosts)].some((one) => one.toLowerCase().includes(text.toLowerCase()));
}

function Line({ item, since }: { item: Summary; since: string }) {
  const name = `${item.namespace}/${item.name}`;
  const wrong = listOf(item.conditions).find((condition) => condition.status !== "True");
  return (
    <Tr>
      <Td dataLabel="Application" className="long"><Link to={toApplication(name)}>{name}</Link></Td>
      <Td dataLabel="Hosts" className="long">{listOf(item.hosts).map((host) => <div key={host}>{host}</div>)}{listOf(item.hosts).length === 0 && <span className="quiet">not published</span>}</Td>
      <Td dataLabel="State">
        <State of={item.ready ? "Ready" : "Waiting"} />
        {!item.ready && wrong !== undefined && <div className="long">{wrong.type}: {wrong.message}</div>}
      </Td>
      <CountCells hits={item.hits} to={toCounts("route", { since, namespace: item.namespace, application: item.name })} />
    </Tr>
  );
}
