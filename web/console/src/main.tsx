// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import "@patternfly/react-core/dist/styles/base.css";
import "./console.css";

import { StrictMode } from "react";
import { createRoot } from "react-dom/client";

import { Console } from "./Console";
import { applyTheme, theme } from "./shell/theme";

applyTheme(theme());
const root = document.getElementById("root");
if (root === null) throw new Error("the page has no place for the console");
createRoot(root).render(
  <StrictMode>
    <Console />
  </StrictMode>,
);
