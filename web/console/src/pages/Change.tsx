// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { ActionGroup, Alert, Button, FileUpload, Form, FormGroup, FormHelperText, HelperText, HelperTextItem, Spinner, Stack, StackItem } from "@patternfly/react-core";
import { Table, Tbody, Td, Th, Thead, Tr } from "@patternfly/react-table";
import { useRef, useState } from "react";
import { Link, useLocation } from "react-router";

import { post, Refusal } from "../api/client";
import { listOf, type Change, type Changes, type OutgoingCall } from "../api/types";
import { count } from "../parts/format";
import { Frame, Notes, Redacted, Refused } from "../parts/Frame";
import { toExplain, toStatement } from "../parts/links";
import { State } from "../parts/State";

/** As much as the server takes. */
const most = 1024 * 1024;

interface Outcome { changes: Changes | null; refusal: Refusal | null; of: string }

/** What a draft would open or close, before anybody applies it. */
export function ChangePage() {
  const { state } = useLocation() as { state: { draft?: string } | null };
  const [draft, setDraft] = useState(state?.draft ?? "");
  const [file, setFile] = useState("");
  const [busy, setBusy] = useState(false);
  const [outcome, setOutcome] = useState<Outcome | null>(null);
  const asking = useRef<AbortController | null>(null);
  const size = new TextEncoder().encode(draft).length;
  const ask = () => {
    asking.current?.abort();
    const ending = new AbortController();
    asking.current = ending;
    setBusy(true);
    post<Changes>("diff", draft, "application/yaml", ending.signal).then(
      (changes) => { setOutcome({ changes, refusal: null, of: draft }); },
      (error: unknown) => {
        if (!ending.signal.aborted) setOutcome({ changes: null, refusal: error instanceof Refusal ? error : new Refusal(0, String(error)), of: draft });
      },
    ).finally(() => {
      if (asking.current === ending) setBusy(false);
    });
  };
  return (
    <Frame title="Change" says="Paste or upload YAML, and see which requests it would let in or refuse, and which calls it would let out or keep in. Nothing is applied.">
      <Stack hasGutter>
        <StackItem>
          <Form onSubmit={(event) => { event.preventDefault(); ask(); }}>
            <FormGroup label="Draft" isRequired fieldId="draft">
              <FileUpload
                id="draft" type="text" value={draft} filename={file} filenamePlaceholder="Drop a file here, or paste below" browseButtonText="Upload" aria-label="Draft as YAML" allowEditingUploadedText
                onFileInputChange={(_, chosen) => { setFile(chosen.name); }}
                onDataChange={(_, text) => { setDraft(text); }} onTextChange={(_, text) => { setDraft(text); }}
                onClearClick={() => { setDraft(""); setFile(""); setOutcome(null); }}
                dropzoneProps={{ accept: { "application/yaml": [".yaml", ".yml"] }, maxSize: most }}
              />
              <FormHelperText>
                <HelperText>
                  <HelperTextItem variant={size > most ? "error" : "default"}>{size > most ? "It is larger than 1 MiB: leave out what is not changed." : "Whole objects, up to 1 MiB. What the cluster has besides stays as it is."}</HelperTextItem>
                </HelperText>
              </FormHelperText>
            </FormGroup>
            <ActionGroup><Button type="submit" isDisabled={draft.trim() === "" || size > most || busy} isLoading={busy}>Compare with the cluster</Button></ActionGroup>
          </Form>
        </StackItem>
        <StackItem aria-live="polite">
          {busy && <Spinner aria-label="Comparing" />}
          {!busy && outcome !== null && (
            <>
              {outcome.of !== draft && <Alert isInline isPlain component="h2" variant="info" title="The draft has been edited since: this is of the former one." />}
              {outcome.refusal !== null && <Refused refusal={outcome.refusal} />}
              {outcome.changes !== null && <Compared changes={outcome.changes} />}
            </>
          )}
        </StackItem>
      </Stack>
    </Frame>
  );
}

const listed = 200;

function Compared({ changes }: { changes: Changes }) {
  const list = listOf(changes.changes);
  const calls = listOf(changes.calls);
  return (
    <>
      <Redacted of={changes.redacted} />
      <Notes notes={changes.notes} />
      {list.length + calls.length === 0 && (
        <Alert isInline component="h2" variant={listOf(changes.notes).length > 0 ? "info" : "success"} title="No request ends in another way">{count(changes.compared)} kinds of requests were decided on both sides.</Alert>
      )}
      {list.length > 0 && (
        <Table variant="compact" className="compared" role="table" aria-label="What would be different">
          <Thead><Tr><Th modifier="fitContent">Effect</Th><Th width={20}>Who</Th><Th width={30}>May do</Th><Th>Before</Th><Th>After</Th><Th width={25}>Stated in</Th></Tr></Thead>
          <Tbody>{list.slice(0, listed).map((one, i) => <Line key={i} of={one} />)}</Tbody>
        </Table>
      )}
      {list.length > listed && <p className="quiet">The first {listed} of {count(list.length)}, the gravest first.</p>}
      {calls.length > 0 && (
        <Table variant="compact" className="compared" role="table" aria-label="Calls that callers' own proxies would treat differently">
          <Thead><Tr><Th modifier="fitContent">Effect</Th><Th width={20}>Who</Th><Th width={30}>Calls</Th><Th>Before</Th><Th>After</Th><Th width={25}>Stated in</Th></Tr></Thead>
          <Tbody>{calls.slice(0, listed).map((one, i) => <CallLine key={i} of={one} />)}</Tbody>
        </Table>
      )}
      {calls.length > listed && <p className="quiet">The first {listed} of {count(calls.length)} calls, the gravest first.</p>}
    </>
  );
}

function Line({ of }: { of: Change }) {
  return (
    <Tr>
      <Td dataLabel="Effect"><State of={of.effect} /></Td>
      <Td dataLabel="Who" className="long">{of.clients}: {listOf(of.from).join(", ")}{of.any === true && " any workload"}</Td>
      <Td dataLabel="May do" className="long">
        {listOf(of.methods).join(", ") || "all methods"} {listOf(of.paths).join(", ") || "all paths"} on {of.to}{of.port !== undefined && `:${of.port}`}{" "}
        (<Link to={toExplain(`${of.witness.method ?? "GET"} ${of.witness.url}`)}>such as {of.witness.url}</Link>)
      </Td>
      <Sides of={of} />
    </Tr>
  );
}

/** How many callers or destinations of one line are shown. */
const few = 5;

function some(list: readonly string[]) {
  return list.slice(0, few).join(", ") + (list.length > few ? ` and ${count(list.length - few)} more` : "");
}

/** A line about what callers' own proxies let out. */
function CallLine({ of }: { of: OutgoingCall }) {
  return (
    <Tr>
      <Td dataLabel="Effect"><State of={of.effect} /></Td>
      <Td dataLabel="Who" className="long">{some(listOf(of.from))}</Td>
      <Td dataLabel="Calls" className="long">{some(listOf(of.to))}{of.witness.url !== "" && ` (such as ${of.witness.url})`}</Td>
      <Sides of={of} />
    </Tr>
  );
}

function Sides({ of }: { of: Pick<Change, "before" | "after"> }) {
  const because = [...listOf(of.after.because), ...listOf(of.before.because)];
  return (
    <>
      <Td dataLabel="Before" className="long"><State of={of.before.outcome} /> {of.before.why}</Td>
      <Td dataLabel="After" className="long"><State of={of.after.outcome} /> {of.after.why}</Td>
      <Td dataLabel="Stated in" className="long">{because.slice(0, 3).map((one) => <div key={`${one.object} ${one.field ?? ""}`}><Link to={toStatement(one.object)}>{one.object}</Link> {one.field}</div>)}</Td>
    </>
  );
}
