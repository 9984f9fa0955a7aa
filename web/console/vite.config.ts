// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

export default defineConfig({
  plugins: [react()],
  build: {
    outDir: "../../internal/console/dist",
    // Not emptied by Vite: the placeholder that Go embeds has to stay.
    emptyOutDir: false,
    // The server's content policy knows of no scripts and fonts inside of addresses.
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 1200,
  },
  // For work on the pages: a trellis-server behind a forwarded port.
  server: { proxy: { "/api": { target: process.env["TRELLIS_SERVER"] ?? "https://127.0.0.1:8443", secure: false } } },
});
