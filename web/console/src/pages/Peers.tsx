// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Label } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";

import { listOf, type Application } from "../api/types";
import { CountCells, CountHeads } from "../parts/Counts";
import { Part } from "./Application";

/** Who calls, and who may: what is stated beside what was seen. */
export function Callers({ app, to }: { app: Application; to: string }) {
  const callers = listOf(app.callers);
  return (
    <Part title="Who calls">
      {callers.length === 0 ? "Nobody is stated, and nobody was seen." : (
        <Table variant="compact" role="table" aria-label="Who calls">
          <Thead><Tr><Th>Caller</Th><Th>Stated</Th><CountHeads /></Tr></Thead>
          <Tbody>
            {callers.map((caller) => (
              <Tr key={caller.peer}>
                <Td dataLabel="Caller" className="long">{caller.peer}</Td>
                <Td dataLabel="Stated"><Stated declared={caller.declared} used={used(caller.hits)} /></Td>
                <CountCells hits={caller.hits} to={to} />
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

/** What the Application calls, and what it says that it does. */
export function Calls({ app, to }: { app: Application; to: string }) {
  const calls = listOf(app.calls);
  return (
    <Part title="What it calls">
      {calls.length === 0 ? "Nothing is stated, and nothing was seen." : (
        <Table variant="compact" role="table" aria-label="What it calls">
          <Thead><Tr><Th>To</Th><Th>Stated</Th><CountHeads /></Tr></Thead>
          <Tbody>
            {calls.map((call) => (
              <Tr key={call.to}>
                <Td dataLabel="To" className="long">{call.to}</Td>
                <Td dataLabel="Stated"><Stated declared={call.declared} used={used(call.hits)} /></Td>
                <CountCells hits={call.hits} to={to} />
              </Tr>
            ))}
          </Tbody>
        </Table>
      )}
    </Part>
  );
}

function used(hits: { allowed: number; denied: number; last?: string } | undefined): boolean | undefined {
  return hits === undefined ? undefined : hits.allowed + hits.denied > 0;
}

/** Stated and never used, or used and not stated: both want a look. */
function Stated({ declared, used }: { declared: boolean; used: boolean | undefined }) {
  if (!declared) return <Label color="orange">seen, not stated</Label>;
  if (used === false) return <Label color="grey">stated, not seen</Label>;
  return <Label color="green">stated</Label>;
}
