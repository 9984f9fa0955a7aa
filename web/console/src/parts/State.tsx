// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Label } from "@patternfly/react-core";
import { CheckCircleIcon, ExclamationCircleIcon, ExclamationTriangleIcon, InfoCircleIcon, OutlinedQuestionCircleIcon } from "@patternfly/react-icons";

import type { Condition } from "../api/types";
import { tone, words, type Tone } from "./format";

const icons: Readonly<Record<Tone, React.ReactNode>> = {
  green: <CheckCircleIcon />, red: <ExclamationCircleIcon />, orange: <ExclamationTriangleIcon />, blue: <InfoCircleIcon />, grey: <OutlinedQuestionCircleIcon />,
};

/** How something stands, by word, colour and sign. */
export function State({ of }: { of: string }) {
  return <Label color={tone(of)} icon={icons[tone(of)]}>{words(of)}</Label>;
}

/** Conditions by name. One that is not true says why. */
export function Conditions({ of }: { of: readonly Condition[] }) {
  if (of.length === 0) return <span className="quiet">no conditions yet</span>;
  return (
    <>
      {of.map((condition) => {
        const colour = tone(condition.status);
        return (
          <div key={condition.type}>
            <Label color={colour} icon={icons[colour]}>{condition.type}{condition.status === "True" ? "" : `: ${condition.status === "False" ? "no" : "unknown"}`}</Label>{" "}
            {condition.status !== "True" && <span className="long">{condition.reason}: {condition.message}</span>}
          </div>
        );
      })}
    </>
  );
}
