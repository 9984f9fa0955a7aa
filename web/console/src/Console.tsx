// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Bullseye, Spinner } from "@patternfly/react-core";
import { BrowserRouter, Navigate, Route, Routes } from "react-router";

import { NowProvider, SessionProvider, useSession } from "./api/session";
import { ApplicationPage } from "./pages/Application";
import { ApplicationsPage } from "./pages/Applications";
import { ChangePage } from "./pages/Change";
import { CountsPage } from "./pages/Counts";
import { DoorsPage } from "./pages/Doors";
import { ExplainPage } from "./pages/Explain";
import { GraphPage } from "./pages/Graph";
import { LayersPage } from "./pages/Layers";
import { MissingPage } from "./pages/Missing";
import { Login } from "./shell/Login";
import { Shell } from "./shell/Shell";

export function Console() {
  return (
    <BrowserRouter>
      <SessionProvider login={(door) => <Login door={door} />} waiting={<Bullseye><Spinner aria-label="Asking who you are" /></Bullseye>}>
        <NowProvider>
          <Shell>
            <Routes>
              <Route path="/" element={<Home />} />
              <Route path="/layers" element={<LayersPage />} />
              <Route path="/applications" element={<ApplicationsPage />} />
              <Route path="/applications/:namespace/:name" element={<ApplicationPage />} />
              <Route path="/doors" element={<DoorsPage />} />
              <Route path="/graph" element={<GraphPage />} />
              <Route path="/explain" element={<ExplainPage />} />
              <Route path="/change" element={<ChangePage />} />
              <Route path="/counts" element={<CountsPage />} />
              <Route path="*" element={<MissingPage />} />
            </Routes>
          </Shell>
        </NowProvider>
      </SessionProvider>
    </BrowserRouter>
  );
}

/** Each role begins where its own statements are. */
function Home() {
  const { me } = useSession();
  const first = { application: "/applications", platform: "/doors" }[me.layer] ?? "/layers";
  return <Navigate to={first} replace />;
}
