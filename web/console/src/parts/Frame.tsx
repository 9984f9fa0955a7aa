// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Alert, Button, Content, EmptyState, EmptyStateBody, EmptyStateFooter, PageSection, Skeleton, Title } from "@patternfly/react-core";
import { useEffect, type ReactNode } from "react";

import { keepToken, type Refusal } from "../api/client";
import type { Asked } from "../api/session";

/** A page with its heading, which is the title of the tab, too. */
export function Frame({ title, says, tools, children }: { title: string; says: ReactNode; tools?: ReactNode; children: ReactNode }) {
  useEffect(() => {
    document.title = `${title} · Trellis`;
  }, [title]);
  return (
    <>
      <PageSection>
        <Title headingLevel="h1" className="long">{title}</Title>
        <Content component="p" className="quiet">{says}</Content>
        {tools}
      </PageSection>
      <PageSection isFilled className="stacked">{children}</PageSection>
    </>
  );
}

/** Shows an answer, or why there is none; an old answer with a new refusal shows both. */
export function Answered<T>({ asked, children }: { asked: Asked<T>; children: (answer: T) => ReactNode }) {
  if (asked.waiting) return <div aria-busy="true"><Skeleton screenreaderText="Asking the server" height="12rem" /></div>;
  return (
    <>
      {asked.refusal !== null && <Refused refusal={asked.refusal} />}
      {asked.answer !== null && children(asked.answer)}
    </>
  );
}

const titles: Readonly<Record<number, string>> = {
  0: "There is no answer", 401: "The token is not good any more", 403: "You may not ask this", 404: "There is no such thing for you", 413: "That is too large", 503: "The server cannot answer now",
};

export function Refused({ refusal }: { refusal: Refusal }) {
  return (
    <Alert isInline component="h2" variant={refusal.status === 503 || refusal.status === 0 ? "warning" : "danger"} title={`${titles[refusal.status] ?? "That was refused"}: ${refusal.message}`}>
      {refusal.do !== "" && <p>What to do: {refusal.do}</p>}
      {refusal.status === 401 && (
        <Button variant="link" isInline onClick={() => { keepToken(""); location.reload(); }}>Log in again</Button>
      )}
    </Alert>
  );
}

/** Nothing to show: what is missing, and what to do about it. */
export function Nothing({ title, children, action }: { title: string; children: ReactNode; action?: ReactNode }) {
  return (
    <EmptyState titleText={title} headingLevel="h2" variant="sm">
      <EmptyStateBody>{children}</EmptyStateBody>
      {action !== undefined && <EmptyStateFooter>{action}</EmptyStateFooter>}
    </EmptyState>
  );
}

/** Says that something is left out which the viewer may not read. */
export function Redacted({ of }: { of: boolean | undefined }) {
  if (of !== true) return null;
  return <Alert isInline isPlain component="h2" variant="info" title="Some of this is left out: you may not read it. Ask whoever keeps the cluster for the role trellis-viewer." />;
}

/** What an answer is without. */
export function Notes({ notes }: { notes: readonly string[] | null | undefined }) {
  if (notes === null || notes === undefined || notes.length === 0) return null;
  return <Alert isInline variant="warning" component="h2" title="Something may be missing">{notes.map((note) => <p key={note} className="long">{note}</p>)}</Alert>;
}
