// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { execFileSync } from "node:child_process";

import { expect, settled, test } from "./visitor";

const late = JSON.stringify({
  apiVersion: "trellis.dev/v1alpha1", kind: "Application", metadata: { name: "late", namespace: "bookinfo" },
  spec: { service: "late", ports: [{ name: "web", port: 80, protocol: "HTTP" }], routes: [{ name: "pages", port: "web", paths: [{ prefix: "/" }] }] },
});

// How long something may take is asked where nothing else runs: with TRELLIS_TIMED.
const timed = process.env["TRELLIS_TIMED"] !== undefined;

test("a change of the cluster shows without reload", async ({ enter, page }) => {
  await enter("developer", "/applications");
  await settled(page);
  execFileSync(process.env["TRELLIS_KUBECTL"] ?? "kubectl", ["create", "-f", "-"], { input: late });
  const begun = Date.now();
  await expect(page.getByRole("link", { name: "bookinfo/late" })).toBeVisible();
  const took = Date.now() - begun;
  test.info().annotations.push({ type: "took", description: `${took} ms` });
  expect(took).toBeLessThan(timed ? 2000 : Infinity);
});

test("a server that has gone is said to be, and comes back without reload", async ({ enter, page, context }) => {
  await enter("developer", "/applications");
  await settled(page);
  await context.setOffline(true);
  await context.route("**/api/v1/**", (route) => route.abort());
  await page.getByRole("link", { name: "Front doors" }).click();
  await expect(page.getByText(/trellis-server does not answer/)).toBeVisible();
  await context.unroute("**/api/v1/**");
  await context.setOffline(false);
  await expect(page.getByText(/trellis-server does not answer/)).toHaveCount(0);
});

const many = Array.from({ length: 1000 }, (_, i) => ({
  namespace: `team-${i % 40}`, name: `service-${i}`, hosts: [`service-${i}.example.com`], ready: i % 50 !== 0,
  conditions: [{ type: "Ready", status: i % 50 === 0 ? "False" : "True", reason: "X", message: "nothing", since: "2026-01-01T00:00:00Z" }],
  hits: { allowed: i, denied: 0, wouldDeny: 0, failed: 0 },
}));
const services = {
  nodes: many.map((one) => ({ id: one.name, namespace: one.namespace, name: one.name, kind: "Service" })),
  edges: many.flatMap((one, i) => [1, 2, 3].map((step) => ({
    from: one.name, to: `service-${(i * 7 + step) % 1000}`, status: "OK", security: "MutualTLS", reason: "ByName",
    ports: [{ port: 80, status: "OK", accepts: ["MutualTLS"], sends: ["MutualTLS"] }],
  }))),
};
const goals = Array.from({ length: 20 }, (_, i) => ({
  kind: "Goal", name: `goal-${i}`, state: "Met", says: "all do",
  below: [{ kind: "ClusterPolicyBinding", name: `policy-${i}`, state: "Met", below: many.map((one) => ({ kind: "Application", name: `${one.namespace}/${one.name}`, state: "Passing" })) }],
}));

// The answers are of 1,000 services, all else is the real server: what a page takes to ask
// and to draw. What the server takes to answer is measured where it is.
for (const [path, api, answer, ready] of [
  ["/applications", "applications", { items: many }, "team-0/service-0"], ["/graph", "mtls/graph", services, "team-0/service-0"], ["/layers?layer=rule", "tree", goals, "team-0/service-0"],
] as const) {
  test(`${path} is shown at 1,000 services`, async ({ enter, page }) => {
    await page.route(`**/api/v1/${api}*`, (route) => route.fulfill({ json: answer }));
    await enter("security", "/explain");
    // The work of the page's own thread: how long that takes on the clock is decided by what
    // else the machine does.
    const inspector = await page.context().newCDPSession(page);
    await inspector.send("Performance.enable", { timeDomain: "threadTicks" });
    const worked = async () => (await inspector.send("Performance.getMetrics")).metrics.find((one) => one.name === "TaskDuration")?.value ?? Number.NaN;
    const [begun, before] = [Date.now(), await worked()];
    await page.evaluate((to) => {
      history.pushState(null, "", to);
      dispatchEvent(new PopStateEvent("popstate"));
    }, path);
    await expect(page.getByText(ready).first()).toBeVisible();
    const took = Math.round((await worked() - before) * 1000);
    test.info().annotations.push({ type: "took", description: `${path}: ${took} ms of work, ${Date.now() - begun} ms on the clock` });
    expect(took).toBeGreaterThan(0);
    expect(took).toBeLessThan(timed ? 1000 : Infinity);
  });
}

test("the keyboard skips to the content, and the theme is kept", async ({ enter, page }) => {
  await enter("developer", "/applications");
  await page.keyboard.press("Tab");
  await expect(page.getByRole("link", { name: "Skip to content" })).toBeFocused();
  await page.getByLabel("Theme").selectOption("dark");
  await expect(page.locator("html")).toHaveClass(/pf-v6-theme-dark/);
  await page.reload();
  await expect(page.locator("html")).toHaveClass(/pf-v6-theme-dark/);
});
