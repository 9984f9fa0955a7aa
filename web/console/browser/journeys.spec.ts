// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { expect, settled, test, tokens } from "./visitor";

test("without a token the login says where to get one, and a wrong one is refused", async ({ page }) => {
  await page.goto("/applications");
  await expect(page.getByLabel("Command").first()).toHaveValue("trellis console");
  await page.getByLabel(/Token of the cluster/).fill("not a token");
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByText(/the API server does not know the token/)).toBeVisible();
  await page.getByLabel(/Token of the cluster/).fill(tokens.security);
  await page.getByRole("button", { name: "Log in" }).click();
  await expect(page.getByTestId("user")).toHaveText("system:serviceaccount:people:security");
  await page.getByRole("button", { name: "Log out" }).click();
  await expect(page.getByRole("heading", { name: "Log in to Trellis" })).toBeVisible();
  expect(await page.evaluate(() => sessionStorage.length)).toBe(0);
});

test("a security officer begins at goals and opens them by the keyboard", async ({ enter, page }) => {
  await enter("security");
  await expect(page).toHaveURL(/\/layers/);
  const table = page.getByRole("treegrid", { name: "Goals and what became of them" });
  await expect(table.getByRole("link", { name: "known-users", exact: true })).toBeVisible();
  await expect(table.getByRole("link", { name: "no-anonymous-routes", exact: true })).toBeVisible();
  await expect(table.getByRole("link", { name: "bookinfo/productpage", exact: true })).toHaveCount(0);
  const row = table.getByRole("row").filter({ has: page.getByRole("link", { name: "no-anonymous-routes", exact: true }) });
  await row.getByRole("button").first().focus();
  await page.keyboard.press("Enter");
  await expect(table.getByRole("link", { name: "bookinfo/productpage", exact: true }).first()).toBeVisible();
});

test("a link to a row of the tree opens what is above it", async ({ enter, page }) => {
  await enter("security", "/layers?layer=application");
  await settled(page);
  const href = await page.getByRole("link", { name: /^Link to Application bookinfo\/productpage/ }).first().getAttribute("href");
  await page.goto(href ?? "");
  await expect(page.locator(".marked")).toContainText("bookinfo/productpage");
});

test("would-be denied stands beside denied and is not part of it", async ({ enter, page }) => {
  await enter("security", "/counts?by=policy");
  const row = page.getByRole("row").filter({ hasText: "no-anonymous-routes" });
  await expect(row.locator('[data-label="Would deny"]')).toHaveText("7");
  await expect(row.locator('[data-label="Denied"]')).toHaveText("0");
});

test("a developer begins at Applications and sees no others", async ({ enter, page }) => {
  await enter("developer");
  await expect(page).toHaveURL(/\/applications/);
  await expect(page.getByRole("link", { name: "bookinfo/productpage" })).toBeVisible();
  await expect(page.getByText("other/hidden")).toHaveCount(0);
  const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "bookinfo/productpage" }) });
  await expect(row.locator('[data-label="Allowed"]')).toHaveText("1,234");
  await expect(row.locator('[data-label="Denied"]')).toHaveText("53");
});

test("a number leads to the question that it answers", async ({ enter, page }) => {
  await enter("developer", "/applications/bookinfo/productpage");
  const row = page.getByRole("table", { name: "Routes" }).getByRole("row").filter({ hasText: "catalogue" });
  await expect(row.locator('[data-label="Denied"]')).toHaveText("44");
  await row.locator('[data-label="Denied"]').getByRole("link").click();
  await expect(page.getByRole("heading", { level: 1, name: "Counts" })).toBeVisible();
  const counted = page.getByRole("table", { name: "Counts" }).getByRole("row").filter({ hasText: "catalogue" });
  await expect(counted.locator('[data-label="Denied"]')).toHaveText("44");
});

test("a developer is shown who calls without being stated", async ({ enter, page }) => {
  await enter("developer", "/applications/bookinfo/productpage");
  const row = page.getByRole("table", { name: "Who calls" }).getByRole("row").filter({ hasText: "batch/job" });
  await expect(row).toContainText("seen, not stated");
  await expect(row.locator('[data-label="Denied"]')).toHaveText("9");
});

test("what a developer may not read is left out, and said to be", async ({ enter, page }) => {
  await enter("developer", "/layers?layer=rule");
  await settled(page);
  await expect(page.getByText(/you may not read it/).first()).toBeVisible();
  await expect(page.getByText("other/hidden")).toHaveCount(0);
});

test("the Application of another team is none to a developer", async ({ enter, page }) => {
  await enter("developer", "/applications/other/hidden");
  await expect(page.getByText(/there is no Application other\/hidden that you may see/)).toBeVisible();
  await expect(page.getByText(/What to do:/)).toBeVisible();
});

test("whoever has no role sees empty pages that say what to do, and no errors", async ({ enter, page }) => {
  await enter("stranger", "/applications");
  await expect(page.getByRole("heading", { name: "No Applications that you may see" })).toBeVisible();
  for (const path of ["/layers", "/doors", "/graph", "/counts"]) {
    await page.goto(path);
    await settled(page);
    await expect(page.locator(".pf-m-danger")).toHaveCount(0);
    await expect(page.getByText("bookinfo/productpage")).toHaveCount(0);
  }
});

test("a platform operator begins at the front doors", async ({ enter, page }) => {
  await enter("platform");
  await expect(page).toHaveURL(/\/doors/);
  const row = page.getByRole("row").filter({ has: page.getByRole("link", { name: "bookinfo.example.com" }) });
  await expect(row).toContainText("bookinfo/productpage");
  await expect(page.getByText(/login\.example\.com/).first()).toBeVisible();
});

test("a viewer is told that nothing is changed here, and gets the edit", async ({ enter, page }) => {
  await enter("viewer", "/applications/bookinfo/productpage");
  await expect(page.getByRole("region", { name: "YAML" })).toContainText("kind: Application");
  await page.getByRole("link", { name: /see what a change would open/ }).click();
  await expect(page.locator("textarea")).toHaveValue(/kind: Application/);
});

test("times in which nobody counted are gaps, and not zero", async ({ enter, page }) => {
  await enter("security", "/applications?since=1h");
  const gaps = page.getByTestId("gaps");
  await expect(gaps).toContainText(/Not counted: .*\d\d:\d\d–\d\d:\d\d/);
  await expect(gaps).toContainText("zero does not mean that nothing happened");
});

test("behind the numbers are requests, with what finds them in a log", async ({ enter, page }) => {
  await enter("security", "/counts?by=route");
  const newest = page.getByRole("table", { name: "Newest requests" });
  const denied = newest.getByRole("row").filter({ hasText: "6fecfc5f-3f81" });
  await expect(denied).toContainText("GET 403");
  await expect(denied).toContainText("catalogue");
  await denied.getByRole("link", { name: "Application bookinfo/productpage" }).click();
  await expect(page).toHaveURL(/\/applications\/bookinfo\/productpage/);
});
