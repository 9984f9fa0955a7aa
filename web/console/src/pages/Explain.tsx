// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { ActionGroup, Button, Form, FormGroup, FormHelperText, HelperText, HelperTextItem, List, ListItem, Spinner, Stack, StackItem, TextArea, TextInput } from "@patternfly/react-core";
import { useEffect, useState } from "react";
import { useSearchParams } from "react-router";

import { post, Refusal, withQuery } from "../api/client";
import { useSession } from "../api/session";
import { listOf, type Explanation } from "../api/types";
import { Frame, Nothing, Notes, Redacted, Refused } from "../parts/Frame";
import { Part } from "./Application";
import { AnswerPart, Places, StatementLink } from "./Answer";

/** Paste what was refused, and see by whose statement, and where to change it. */
export function ExplainPage() {
  const [query, setQuery] = useSearchParams();
  const thing = query.get("thing") ?? "";
  const from = query.get("from") ?? "";
  const { answer, refusal, waiting } = useExplanation(thing, from);
  return (
    <Frame title="Explain" says="Where something comes from, and where to change it: a URL, a line of an access log, details of a response, a rule or an object.">
      <Stack hasGutter>
        <StackItem><Ask key={`${thing} ${from}`} thing={thing} from={from} ask={(next, client) => { setQuery(new URLSearchParams(withQuery("", { thing: next, from: client }))); }} /></StackItem>
        <StackItem aria-live="polite">
          {waiting && <Spinner aria-label="Asking the server" />}
          {refusal !== null && <Refused refusal={refusal} />}
          {answer !== null && <Explained of={answer} />}
          {thing === "" && <Nothing title="Nothing is asked yet">Paste the address that was refused, such as https://shop.example.com/cart, or the whole line of the access log.</Nothing>}
        </StackItem>
      </Stack>
    </Frame>
  );
}

function useExplanation(thing: string, from: string) {
  const { revision } = useSession();
  const key = JSON.stringify(from === "" ? { thing } : { thing, from });
  const [state, setState] = useState<{ key: string; answer: Explanation | null; refusal: Refusal | null } | null>(null);
  useEffect(() => {
    if (thing === "") return;
    const ending = new AbortController();
    post<Explanation>("explain", key, "application/json", ending.signal).then(
      (answer) => { setState({ key, answer, refusal: null }); },
      (error: unknown) => {
        if (!ending.signal.aborted) setState({ key, answer: null, refusal: error instanceof Refusal ? error : new Refusal(0, String(error)) });
      },
    );
    return () => { ending.abort(); };
  }, [key, thing, revision]);
  const same = state?.key === key && thing !== "";
  return { answer: same ? state.answer : null, refusal: same ? state.refusal : null, waiting: thing !== "" && !same };
}

function Ask({ thing, from, ask }: { thing: string; from: string; ask: (thing: string, from: string) => void }) {
  const [text, setText] = useState(thing);
  const [client, setClient] = useState(from);
  return (
    <Form
      onSubmit={(event) => {
        event.preventDefault();
        ask(text.trim(), client.trim());
      }}
    >
      <FormGroup label="What is to be explained" isRequired fieldId="thing">
        <TextArea id="thing" value={text} onChange={(_, value) => { setText(value); }} rows={3} resizeOrientation="vertical" spellCheck={false} isRequired />
        <FormHelperText><HelperText><HelperTextItem>Nothing of it is kept: it is asked about and forgotten. Leave tokens out.</HelperTextItem></HelperText></FormHelperText>
      </FormGroup>
      <FormGroup label="Sent by" fieldId="from">
        <TextInput id="from" value={client} onChange={(_, value) => { setClient(value); }} placeholder="internet, or NAMESPACE/NAME" />
      </FormGroup>
      <ActionGroup><Button type="submit" isDisabled={text.trim() === ""}>Explain</Button></ActionGroup>
    </Form>
  );
}

function Explained({ of }: { of: Explanation }) {
  const rules = listOf(of.rules);
  return (
    <Stack hasGutter>
      <StackItem><Redacted of={of.redacted} /><Notes notes={of.notes} /></StackItem>
      <StackItem>
        <Part title={of.of}>
          {[of.means, of.why].map((text) => text !== undefined && text !== "" && <p key={text} className="long">{text}</p>)}
          {of.do !== undefined && of.do !== "" && <p className="long"><strong>What to do:</strong> {of.do}</p>}
          <Places of={listOf(of.change)} />
        </Part>
      </StackItem>
      {rules.length > 0 && (
        <StackItem>
          <Part title="Rules that it leads to">
            <List>
              {rules.map((rule) => (
                <ListItem key={`${rule.kind} ${rule.namespace}/${rule.name} ${rule.rule}`} className="long">
                  {rule.kind} {rule.namespace}/{rule.name}{rule.rule >= 0 && `, rule ${rule.rule}`}{rule.statement !== undefined && <>: <StatementLink of={rule.statement} /></>}
                </ListItem>
              ))}
            </List>
            {listOf(of.held).length > 0 && <p className="long">Proxies that have them: {[...new Set(listOf(of.held).map((held) => held.proxy))].join(", ")}.</p>}
          </Part>
        </StackItem>
      )}
      {of.now !== undefined && <StackItem><AnswerPart title="What would become of it now" of={of.now} /></StackItem>}
      {listOf(of.variants).length > 0 && <StackItem><Part title="What would pass"><List>{listOf(of.variants).map((one) => <ListItem key={one} className="long">{one}</ListItem>)}</List></Part></StackItem>}
    </Stack>
  );
}
