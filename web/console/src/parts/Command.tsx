// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Button, ClipboardCopy, CodeBlock, CodeBlockAction, CodeBlockCode } from "@patternfly/react-core";
import { useState } from "react";

/** Makes a command ask the running mesh, as the console does. */
export const live = '--context "$(kubectl config current-context)"';

/** A command line, to be copied. */
export function Command({ text }: { text: string }) {
  return <ClipboardCopy isReadOnly isCode hoverTip="Copy" clickTip="Copied" textAriaLabel="Command" copyAriaLabel="Copy the command">{text}</ClipboardCopy>;
}

/** A text of several lines, to be copied. */
export function Listing({ text, name }: { text: string; name: string }) {
  const [copied, setCopied] = useState(false);
  const copy = () => {
    void navigator.clipboard.writeText(text).then(() => { setCopied(true); });
  };
  return (
    <CodeBlock actions={<CodeBlockAction><Button variant="secondary" size="sm" onClick={copy}>{copied ? "Copied" : `Copy ${name}`}</Button></CodeBlockAction>}>
      {/* A region that scrolls has to be reached by the keyboard. */}
      <div className="code" tabIndex={0} role="region" aria-label={name}><CodeBlockCode>{text}</CodeBlockCode></div>
    </CodeBlock>
  );
}
