// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Card, CardBody, CardTitle, DescriptionList, DescriptionListDescription, DescriptionListGroup, DescriptionListTerm, Stack, StackItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import type { ReactNode } from "react";
import { Link, useParams } from "react-router";

import { withQuery } from "../api/client";
import { useAnswer } from "../api/session";
import { listOf, type Application } from "../api/types";
import { Command, Listing, live } from "../parts/Command";
import { CountCells, CountHeads, Gaps, SinceChoice, useSince } from "../parts/Counts";
import { Answered, Frame } from "../parts/Frame";
import { toCounts, toExplain, toStatement } from "../parts/links";
import { Conditions, State } from "../parts/State";
import { Callers, Calls } from "./Peers";

/** One Application: what is stated, what is asked of it, and what became of it. */
export function ApplicationPage() {
  const { namespace = "", name = "" } = useParams();
  const since = useSince();
  const asked = useAnswer<Application>(withQuery(`applications/${encodeURIComponent(namespace)}/${encodeURIComponent(name)}`, { since }));
  return (
    <Frame title={`${namespace}/${name}`} says="One Application: where it is reached, who calls it, what holds it, and what it became." tools={<SinceChoice />}>
      <Gaps since={since} />
      <Answered asked={asked}>{(app) => <Parts app={app} since={since} />}</Answered>
    </Frame>
  );
}

function Parts({ app, since }: { app: Application; since: string }) {
  const counted = { namespace: app.namespace, application: app.name, since };
  return (
    <Stack hasGutter>
      <StackItem><Summary app={app} /></StackItem>
      <StackItem><Routes app={app} to={toCounts("route", counted)} /></StackItem>
      <StackItem><Callers app={app} to={toCounts("rule", counted)} /></StackItem>
      <StackItem><Calls app={app} to={toCounts("rule", counted)} /></StackItem>
      <StackItem><Tests app={app} /></StackItem>
      <StackItem><Bounds app={app} /></StackItem>
      <StackItem><Became app={app} /></StackItem>
      <StackItem><Edit app={app} /></StackItem>
    </Stack>
  );
}

export function Part({ title, children }: { title: string; children: ReactNode }) {
  return <Card><CardTitle component="h2">{title}</CardTitle><CardBody>{children}</CardBody></Card>;
}

function Summary({ app }: { app: Application }) {
  const policies = listOf(app.policies);
  return (
    <Part title="How it stands">
      <DescriptionList isHorizontal isCompact>
        <DescriptionListGroup>
          <DescriptionListTerm>Address</DescriptionListTerm>
          <DescriptionListDescription className="long">
            {listOf(app.addresses).length === 0 ? "It is not published: state an exposure." : listOf(app.addresses).map((url) => (
              <div key={url}>{url} (<Link to={toExplain(url)} aria-label={`Explain ${url}`}>explain</Link>)</div>
            ))}
          </DescriptionListDescription>
        </DescriptionListGroup>
        <DescriptionListGroup>
          <DescriptionListTerm>Conditions</DescriptionListTerm>
          <DescriptionListDescription>
            {!app.inForce && <p>This statement waits for its tests: what was in force before it still is.</p>}
            <Conditions of={listOf(app.conditions)} />
          </DescriptionListDescription>
        </DescriptionListGroup>
        <DescriptionListGroup>
          <DescriptionListTerm>Held by</DescriptionListTerm>
          <DescriptionListDescription className="long">
            {policies.length === 0 ? "No policy and no goal." : policies.map((node) => (
              <div key={`${node.kind} ${node.name}`}>
                {node.kind === "Goal" ? <Link to={withQuery("/layers", { goal: node.name, layer: "object" })}>Goal {node.name}</Link> : `${node.kind} ${node.name}`}
                {node.state !== undefined && <> <State of={node.state} /></>} {node.says}
              </div>
            ))}
          </DescriptionListDescription>
        </DescriptionListGroup>
      </DescriptionList>
    </Part>
  );
}

function Routes({ app, to }: { app: Application; to: string }) {
  return (
    <Part title="Routes">
      {listOf(app.routes).length === 0 ? "It states no routes." : (
        <Table variant="compact" role="table" aria-label="Routes">
          <Thead><Tr><Th>Route</Th><Th>Paths</Th><Th>Methods</Th><Th>Login</Th><CountHeads /></Tr></Thead>
          <Tbody>
            {listOf(app.routes).map((route) => (
              <Tr key={route.name}>
                <Td dataLabel="Route" className="long"><Link to={toExplain(`${app.namespace}/${app.name}/${route.name}`)}>{route.name}</Link></Td>
                <Td dataLabel="Paths" className="long">{listOf(route.paths).join(", ") || "all"}</Td>
                <Td dataLabel="Methods">{listOf(route.methods).join(", ") || "all"}</Td>
                <Td dataLabel="Login">{route.authentication ?? <span className="quiet">as the ingress has it</span>}</Td>
                <CountCells hits={route.hits} to={to} />
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

function Tests({ app }: { app: Application }) {
  return (
    <Part title="Tests">
      {listOf(app.tests).length === 0 ? "It states no tests, and no policy asserts anything about it." : (
        <Table variant="compact" role="table" aria-label="Tests">
          <Thead><Tr><Th>Test</Th><Th modifier="fitContent">State</Th><Th>Says</Th></Tr></Thead>
          <Tbody>
            {listOf(app.tests).map((test) => (
              <Tr key={test.name}>
                <Td dataLabel="Test" className="long">{test.name}</Td>
                <Td dataLabel="State"><State of={test.state} /></Td>
                <Td dataLabel="Says" className="long">{test.says}{test.ask !== undefined && <Command text={test.ask} />}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

function Bounds({ app }: { app: Application }) {
  return (
    <Part title="What it may still choose">
      <Table variant="compact" role="table" aria-label="What it may still choose">
        <Thead><Tr><Th>Part</Th><Th modifier="fitContent">Freedom</Th><Th>What</Th><Th>Whose rule, and whom to ask</Th></Tr></Thead>
        <Tbody>
          {listOf(app.envelope).map((bound, i) => (
            <Tr key={`${bound.part} ${i}`}>
              <Td dataLabel="Part">{bound.part}</Td><Td dataLabel="Freedom">{bound.freedom}</Td><Td dataLabel="What" className="long">{bound.what}</Td><Td dataLabel="Whose rule" className="long">{bound.by ?? "nobody's"}</Td>
            </Tr>
          ))}
        </Tbody>
      </Table>
      <Command text={`trellis envelope ${app.namespace}/${app.name} ${live}`} />
    </Part>
  );
}

function Became({ app }: { app: Application }) {
  const objects = listOf(app.became);
  return (
    <Part title="What it became">
      {objects.length === 0 ? "Nothing yet: the conditions above say why." : (
        <Table variant="compact" role="table" aria-label="What it became">
          <Thead><Tr><Th>Object or rule</Th><Th>For</Th><Th>Stated in</Th><CountHeads /></Tr></Thead>
          {objects.map((object) => (
            <Tbody key={`${object.kind} ${object.namespace}/${object.name}`}>
              <Tr>
                <Td dataLabel="Object" className="long" colSpan={7}><span className="quiet">{object.kind}</span> <Link to={toExplain(`${object.kind} ${object.namespace}/${object.name}`)}>{object.namespace}/{object.name}</Link></Td>
              </Tr>
              {listOf(object.rules).map((rule, i) => (
                <Tr key={rule.id ?? i}>
                  <Td dataLabel="Rule" className="long">{rule.id === undefined ? <span className="quiet">part {i}</span> : <Link to={toExplain(rule.id)}>rule {i}</Link>}</Td>
                  <Td dataLabel="For">{rule.reason}</Td>
                  <Td dataLabel="Stated in" className="long">{rule.statement === undefined ? "" : <><Link to={toStatement(rule.statement.object)}>{rule.statement.object}</Link> {rule.field}</>}</Td>
                  {rule.id === undefined ? <Td colSpan={4} /> : <CountCells hits={rule.hits} to={toExplain(rule.id)} />}
                </Tr>
              ))}
            </Tbody>
          ))}
        </Table>
      )}
    </Part>
  );
}

function Edit({ app }: { app: Application }) {
  const { edit } = app;
  return (
    <Part title="Change it">
      <p className="long">
        The console changes nothing. {edit.url !== undefined && <a href={edit.url} target="_blank" rel="noreferrer">Open the file in Git</a>}
        {edit.url === undefined && edit.file !== undefined && <>It is kept in {edit.file}.</>} Edit this, and <Link to="/change" state={{ draft: edit.yaml }}>see what a change would open or close</Link> before it is applied.
      </p>
      <Listing text={edit.yaml} name="YAML" />
    </Part>
  );
}
