// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import chromium from "@sparticuz/chromium";
import { defineConfig } from "@playwright/test";

// Run by test/e2e/console, which starts what is looked at and says where it is. A Chromium
// of one's own is named by TRELLIS_CHROMIUM.
export default defineConfig({
  testDir: ".",
  outputDir: "../test-results",
  timeout: 180_000,
  // Where a machine runs other tests beside these, it may be too slow once.
  retries: process.env["CI"] === undefined ? 0 : 1,
  expect: { timeout: 30_000 },
  // One after another: they look at one cluster, and one of them changes it.
  workers: 1,
  fullyParallel: false,
  reporter: [["json"]],
  use: {
    baseURL: process.env["TRELLIS_CONSOLE"] ?? "https://127.0.0.1:8443",
    // The certificate is of an authority of the test, for the name of the Service.
    ignoreHTTPSErrors: true,
    viewport: { width: 1280, height: 900 },
    launchOptions: {
      executablePath: process.env["TRELLIS_CHROMIUM"] ?? await chromium.executablePath(),
      args: ["--no-sandbox", "--no-zygote", "--disable-gpu", "--disable-dev-shm-usage"],
    },
  },
});
