// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { useEffect, useRef } from "react";

import { withQuery } from "../api/client";
import { useAnswer } from "../api/session";
import { listOf, type Edge, type MutualTLS } from "../api/types";
import { Command, live } from "../parts/Command";
import { Answered, Notes } from "../parts/Frame";
import { State } from "../parts/State";
import { Part } from "./Application";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

/** What is behind an edge: the rows of the check, and the commands that explain and repair. */
export function Check({ edge, from, to }: { edge: Edge; from: string; to: string }) {
  const [namespace = "", name = ""] = to.split("/");
  const asked = useAnswer<MutualTLS>(withQuery("mtls", { namespace }));
  const place = useRef<HTMLDivElement>(null);
  // Whoever chose an edge by the keyboard goes on from what it shows.
  useEffect(() => { place.current?.focus(); }, [from, to]);
  // Anybody stands for many clients: the fix is looked for of the first.
  const client = listOf(edge.clients)[0] ?? from;
  const wrong = edge.status === "CONFLICT" || edge.status === "PARTIAL";
  return (
    <div ref={place} tabIndex={-1} data-testid="check">
      <Part title={`${from} to ${to}`}>
        <Table variant="compact" role="table" aria-label="Ports of this edge">
          <Thead><Tr><Th>Port</Th><Th modifier="fitContent">Status</Th><Th modifier="wrap">Client sends</Th><Th modifier="wrap">Service takes</Th><Th>Stated in</Th><Th>Why</Th></Tr></Thead>
          <Tbody>
            {listOf(edge.ports).map((port) => (
              <Tr key={`${port.port} ${port.subset ?? ""} ${port.destinationRule ?? ""}`}>
                <Td dataLabel="Port">{port.port}{port.subset !== undefined && ` subset ${port.subset}`}</Td>
                <Td dataLabel="Status"><State of={port.status} /></Td>
                <Td dataLabel="Client sends">{listOf(port.sends).join(", ") || "not known"}</Td>
                <Td dataLabel="Service takes">{listOf(port.accepts).join(", ") || "not known"}</Td>
                <Td dataLabel="Stated in" className="long">
                  {[...listOf(port.peerAuthentications).map((one) => `PeerAuthentication ${one}`), ...(port.destinationRule === undefined ? [] : [`DestinationRule ${port.destinationRule}`])].join(", ") || "Istio's default"}
                </Td>
                <Td dataLabel="Why" className="long">{port.why}</Td>
              </Tr>
            ))}
          </Tbody>
        </Table>
        {wrong && (
          <>
            <p>The fix, as a change to be read and applied:</p>
            <Command text={`trellis mtls fix ${client} ${to} ${live}`} />
          </>
        )}
        <Answered asked={asked}>
          {(check) => {
            const rows = listOf(check.rows).filter((row) => row.host.startsWith(`${name}.${namespace}.`) && row.why !== undefined);
            return (
              <>
                <Notes notes={check.notes} />
                {rows.slice(0, 20).map((row) => (
                  <p key={`${row.client} ${row.port} ${row.subset ?? ""}`} className="long"><State of={row.status} /> {row.client} to {row.host}:{row.port}: {row.why}</p>
                ))}
              </>
            );
          }}
        </Answered>
      </Part>
    </div>
  );
}
