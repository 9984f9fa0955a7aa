// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Label, Stack, StackItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { Link } from "react-router";

import { useAnswer, useNow } from "../api/session";
import { listOf, type Doors } from "../api/types";
import { Moment } from "../parts/Counts";
import { Answered, Frame, Nothing, Redacted } from "../parts/Frame";
import { toApplication, toExplain } from "../parts/links";
import { Conditions, State } from "../parts/State";
import { Part } from "./Application";

/** How the mesh is reached from outside, and what has to be renewed for that. */
export function DoorsPage() {
  const asked = useAnswer<Doors>("doors");
  return (
    <Frame title="Front doors" says="The hosts that the mesh is reached by, with their certificates, DNS records and identity providers.">
      <Answered asked={asked}>{(doors) => <Parts doors={doors} />}</Answered>
    </Frame>
  );
}

function Parts({ doors }: { doors: Doors }) {
  const empty = [doors.ingresses, doors.certificates, doors.records, doors.providers].every((list) => list === null || list.length === 0);
  if (empty) {
    return (
      <>
        <Redacted of={doors.redacted} />
        <Nothing title="No front door that you may see" action={<Link to="/applications">See the Applications</Link>}>
          A platform operator makes one by a SecureIngress; who publishes an Application there needs none of their own.
        </Nothing>
      </>
    );
  }
  return (
    <Stack hasGutter>
      <StackItem><Redacted of={doors.redacted} /></StackItem>
      {listOf(doors.ingresses).map((ingress) => <StackItem key={`${ingress.namespace}/${ingress.name}`}><Ingress ingress={ingress} /></StackItem>)}
      <StackItem><Certificates doors={doors} /></StackItem>
      <StackItem><Records doors={doors} /></StackItem>
      <StackItem><Providers doors={doors} /></StackItem>
    </Stack>
  );
}

function Ingress({ ingress }: { ingress: NonNullable<Doors["ingresses"]>[number] }) {
  const providers = listOf(ingress.identityProviders);
  const name = `${ingress.namespace}/${ingress.name}`;
  return (
    <Part title={`SecureIngress ${name}`}>
      <Conditions of={listOf(ingress.conditions)} />
      <p className="long">
        Domains: {listOf(ingress.domains).join(", ") || "none"}. Gateways: {listOf(ingress.gateways).join(", ") || "none"}. Certificates: {ingress.tls.certificates}
        {ingress.tls.minimumVersion !== undefined && <>, {ingress.tls.minimumVersion} and later</>}{ingress.tls.hsts === true && <>, HSTS</>}.
      </p>
      <p className="long">
        {providers.length === 0 ? "Nobody logs in here: there is no identity provider." : <>Logins by {providers.map((one) => `${one.name}${one.default === true ? " (default)" : ""}: ${one.issuer ?? "left out"}`).join("; ")}.</>}
      </p>
      {listOf(ingress.hosts).length === 0 ? "No host is published yet." : (
        <Table variant="compact" role="table" aria-label={`Hosts of ${name}`}>
          <Thead><Tr><Th>Host</Th><Th>Application</Th><Th modifier="fitContent">Phase</Th><Th>Says</Th></Tr></Thead>
          <Tbody>
            {listOf(ingress.hosts).map((host) => (
              <Tr key={`${host.host} ${host.application ?? ""}`}>
                <Td dataLabel="Host" className="long"><Link to={toExplain(`https://${host.host}/`)}>{host.host}</Link></Td>
                <Td dataLabel="Application" className="long">{host.application === undefined ? <span className="quiet">nobody that you may see</span> : <Link to={toApplication(host.application)}>{host.application}</Link>}</Td>
                <Td dataLabel="Phase"><State of={host.phase} /></Td>
                <Td dataLabel="Says" className="long">{host.says}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

/** A certificate wants a look within this time of its end, if none has been fetched by then. */
const soon = 14 * 86_400_000;

function Certificates({ doors }: { doors: Doors }) {
  const list = [...listOf(doors.certificates)].sort((a, b) => (a.notAfter ?? "").localeCompare(b.notAfter ?? ""));
  return (
    <Part title="Certificates">
      {list.length === 0 ? "Trellis keeps none here: they are in Secrets that somebody else fills, or you may not see them." : (
        <Table variant="compact" role="table" aria-label="Certificates">
          <Thead><Tr><Th>Certificate</Th><Th>Names</Th><Th>Expires</Th><Th>Renewal</Th><Th>State</Th></Tr></Thead>
          <Tbody>
            {list.map((one) => (
              <Tr key={`${one.namespace}/${one.name}`}>
                <Td dataLabel="Certificate" className="long">{one.namespace}/{one.name}</Td>
                <Td dataLabel="Names" className="long">{listOf(one.names).join(", ")}</Td>
                <Td dataLabel="Expires">{one.notAfter === undefined ? <span className="quiet">not issued</span> : <Expiry at={one.notAfter} />}</Td>
                <Td dataLabel="Renewal">{one.renewal === undefined ? "" : <Moment at={one.renewal} />}</Td>
                <Td dataLabel="State"><Conditions of={listOf(one.conditions)} /></Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

function Expiry({ at }: { at: string }) {
  const left = Date.parse(at) - useNow();
  const colour = left < 0 ? "red" : left < soon ? "orange" : "green";
  return <Label color={colour}>{left < 0 && "expired "}<Moment at={at} /></Label>;
}

function Records({ doors }: { doors: Doors }) {
  const list = listOf(doors.records);
  return (
    <Part title="DNS records">
      {list.length === 0 ? "Trellis keeps none here." : (
        <Table variant="compact" role="table" aria-label="DNS records">
          <Thead><Tr><Th>Host</Th><Th>Type</Th><Th>Points at</Th><Th>Provider</Th><Th>State</Th></Tr></Thead>
          <Tbody>
            {list.map((one) => (
              <Tr key={`${one.namespace} ${one.host} ${one.type}`}>
                <Td dataLabel="Host" className="long">{one.host}</Td><Td dataLabel="Type">{one.type}</Td><Td dataLabel="Points at" className="long">{listOf(one.targets).join(", ")}</Td>
                <Td dataLabel="Provider">{one.provider}</Td><Td dataLabel="State"><Conditions of={listOf(one.conditions)} /></Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

function Providers({ doors }: { doors: Doors }) {
  const list = listOf(doors.providers);
  return (
    <Part title="DNS providers">
      {list.length === 0 ? "There is none that you may see." : (
        <Table variant="compact" role="table" aria-label="DNS providers">
          <Thead><Tr><Th>Provider</Th><Th>Kind</Th><Th>Zones</Th><Th>State</Th></Tr></Thead>
          <Tbody>
            {list.map((one) => (
              <Tr key={`${one.namespace}/${one.name}`}>
                <Td dataLabel="Provider" className="long">{one.namespace}/{one.name}</Td><Td dataLabel="Kind">{one.kind}</Td><Td dataLabel="Zones" className="long">{listOf(one.zones).join(", ")}</Td>
                <Td dataLabel="State"><Conditions of={listOf(one.conditions)} /></Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}
