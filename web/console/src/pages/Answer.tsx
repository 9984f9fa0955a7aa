// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { List, ListItem, OrderType } from "@patternfly/react-core";
import { Link } from "react-router";

import { listOf, type Answer, type Place, type Statement, type Step } from "../api/types";
import { toStatement } from "../parts/links";
import { State } from "../parts/State";
import { Part } from "./Application";

/** What becomes of one request, step by step. */
export function AnswerPart({ title, of }: { title: string; of: Answer }) {
  return (
    <Part title={title}>
      <p className="long"><State of={of.outcome} /> {of.request.method} {of.request.url} from {of.request.from}{of.code !== undefined && `: ${of.code}`}</p>
      <p className="long">{of.why}</p>
      {of.do !== undefined && of.do !== "" && <p className="long"><strong>What to do:</strong> {of.do}</p>}
      {of.decided !== undefined && <p className="long">Decided by <StatementLink of={of.decided} />.</p>}
      <Places of={listOf(of.change)} />
      <List component="ol" type={OrderType.number}>
        {listOf(of.steps).map((step, i) => <ListItem key={`${i} ${step.stage}`} className="long"><StepLine of={step} /></ListItem>)}
      </List>
    </Part>
  );
}

function StepLine({ of }: { of: Step }) {
  return (
    <>
      <span className="quiet">{[of.proxy, of.stage].filter((text) => text !== undefined && text !== "").join(", ")}:</span> {of.stops === true ? <strong>{of.says}</strong> : of.says}
      {of.statement !== undefined && <> (<StatementLink of={of.statement} />)</>}
    </>
  );
}

/** A statement that somebody wrote: object, field and where it is kept. */
export function StatementLink({ of }: { of: Statement }) {
  return (
    <>
      <Link to={toStatement(of.object)}>{of.object}</Link> {of.field}
      {of.source !== undefined && <span className="quiet"> ({of.source})</span>}
      {of.goals !== undefined && <span className="quiet">, for the goal {of.goals}</span>}
    </>
  );
}

/** Where another outcome would be stated, and by whom. */
export function Places({ of }: { of: readonly Place[] }) {
  if (of.length === 0) return null;
  return (
    <>
      <p>Where to change it:</p>
      <List>
        {of.map((place) => (
          <ListItem key={`${place.object} ${place.field ?? ""}`} className="long"><StatementLink of={place} />. It is kept by {place.whom}.{place.editable === true && " You may change it."}</ListItem>
        ))}
      </List>
    </>
  );
}
