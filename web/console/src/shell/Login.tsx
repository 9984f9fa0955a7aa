// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { ActionGroup, Alert, Button, Card, CardBody, CardTitle, Content, Form, FormGroup, FormHelperText, HelperText, HelperTextItem, TextArea } from "@patternfly/react-core";
import { useState } from "react";

import { token } from "../api/client";
import type { Door } from "../api/session";
import { Command } from "../parts/Command";

/** Asks for a token, or says why nobody is let in at all. */
export function Login({ door }: { door: Door }) {
  const [value, setValue] = useState("");
  // Without a token yet, the server's 401 is no mistake of anybody.
  const wrong = door.refusal !== null && (door.refusal.status !== 401 || token() !== "");
  return (
    <main className="padded" id="content">
      <Card isLarge>
        <CardTitle component="h1">Log in to Trellis</CardTitle>
        <CardBody>
          {wrong && (
            <Alert isInline component="h2" variant="danger" title={door.refusal?.message ?? ""} role="alert">{door.refusal?.do}</Alert>
          )}
          <Form
            onSubmit={(event) => {
              event.preventDefault();
              door.enter(value.trim());
            }}
          >
            <FormGroup label="Token of the cluster" isRequired fieldId="token">
              <TextArea id="token" name="token" value={value} onChange={(_, text) => { setValue(text); }} autoComplete="off" spellCheck={false} rows={3} isRequired resizeOrientation="vertical" />
              <FormHelperText>
                <HelperText><HelperTextItem>It stays in this tab until you close it or log out. You see what this token may read, and the console changes nothing.</HelperTextItem></HelperText>
              </FormHelperText>
            </FormGroup>
            <ActionGroup>
              <Button type="submit" isDisabled={value.trim() === ""}>Log in</Button>
              {wrong && door.refusal?.status !== 401 && <Button variant="secondary" onClick={() => { door.enter(token()); }}>Ask again</Button>}
            </ActionGroup>
          </Form>
          <Content component="h2">Where to get one</Content>
          <Content component="p">Without pasting anything: this opens the console with the account of your kubeconfig.</Content>
          <Command text="trellis console" />
          <Content component="p">A token of a ServiceAccount that lasts an hour:</Content>
          <Command text="kubectl create token ACCOUNT --namespace NAMESPACE --duration 1h" />
        </CardBody>
      </Card>
    </main>
  );
}
