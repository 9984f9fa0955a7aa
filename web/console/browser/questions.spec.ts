// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { accessible, expect, fits, pictured, settled, test } from "./visitor";

test("a pasted address is explained down to the statement", async ({ enter, page }) => {
  await enter("security", "/explain");
  await expect(page.getByText("Nothing is asked yet")).toBeVisible();
  await page.getByLabel(/What is to be explained/).fill("https://bookinfo.example.com/api/v1/products");
  await page.getByRole("button", { name: "Explain" }).click();
  await expect(page.getByRole("link", { name: "Application bookinfo/productpage" }).first()).toBeVisible();
  await expect(page).toHaveURL(/thing=https/);
});

test("what cannot be explained is refused with what to do", async ({ enter, page }) => {
  await enter("security", "/explain?thing=nonsense");
  await expect(page.getByText(/is none of/)).toBeVisible();
  await expect(page.getByText(/What to do:/)).toBeVisible();
});

const opened = `apiVersion: trellis.dev/v1alpha1
kind: Application
metadata: {name: productpage, namespace: bookinfo}
spec:
  service: productpage
  ports: [{name: web, port: 9080, protocol: HTTP}]
  routes: [{name: everything, port: web, paths: [{prefix: /}], authentication: {mode: None}}]
  exposures: [{name: public, hostnames: [bookinfo], routes: [everything]}]
`;

test("a draft that opens something is shown as newly allowed before it is applied", async ({ enter, page }) => {
  await enter("security", "/change");
  await page.locator("textarea").fill(opened);
  await page.getByRole("button", { name: "Compare with the cluster" }).click();
  await expect(page.getByText("newly allowed").first()).toBeVisible({ timeout: 40_000 });
  await settled(page);
  await accessible(page);
  await fits(page);
  await pictured(page, "change");
});

test("a draft that is no YAML is refused", async ({ enter, page }) => {
  await enter("security", "/change");
  await page.locator("textarea").fill("a: [");
  await page.getByRole("button", { name: "Compare with the cluster" }).click();
  await expect(page.getByText(/What to do:/)).toBeVisible();
});

test("a draft of a million references ends in a refusal and not in a hang", async ({ enter, page }) => {
  await enter("security", "/change");
  const bomb = ["a: &a [x,x,x,x,x,x,x,x,x]", ..."bcdefghi".split("").map((name, i) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh".charAt(i)}`).join(",")}]`)].join("\n");
  await page.locator("textarea").fill(bomb);
  await page.getByRole("button", { name: "Compare with the cluster" }).click();
  await expect(page.locator(".pf-v6-c-alert").first()).toBeVisible({ timeout: 30_000 });
  await expect(page.getByText("newly allowed")).toHaveCount(0);
});

test("a line of the graph leads to its check", async ({ enter, page }) => {
  await enter("security", "/graph?namespace=bookinfo");
  await settled(page);
  const table = page.getByRole("table", { name: "Who may use which service" });
  await table.getByRole("row").nth(1).locator('[data-label="Status"]').getByRole("link").click();
  await expect(page).toHaveURL(/edge=/);
  await expect(page.getByTestId("check")).toBeFocused();
  await expect(page.getByRole("table", { name: "Ports of this edge" })).toBeVisible();
});
