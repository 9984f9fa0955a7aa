// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { AxeBuilder } from "@axe-core/playwright";
import { test as base, expect, type Page } from "@playwright/test";

export type Role = "developer" | "platform" | "security" | "viewer" | "stranger";

const tokens = JSON.parse(process.env["TRELLIS_TOKENS"] ?? "{}") as Record<Role, string>;

/** A page that fails its test when the content policy or a script complains. */
export const test = base.extend<{ enter: (role: Role, path?: string) => Promise<Page> }>({
  page: async ({ page }, provide) => {
    const complaints: string[] = [];
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
    });
    await provide(page);
    expect(complaints).toEqual([]);
  },
  enter: async ({ page }, provide) => {
    await provide(async (role, path = "/") => {
      await page.addInitScript((token) => { sessionStorage.setItem("trellis-token", token); }, tokens[role]);
      await page.goto(path);
      await expect(page.getByRole("heading", { level: 1 })).toBeVisible();
      return page;
    });
  },
});

export { expect, tokens };

/** Waits until nothing is being asked any more. */
export async function settled(page: Page): Promise<void> {
  await expect(page.locator("[aria-busy=true], .pf-v6-c-spinner")).toHaveCount(0);
}

/** The documentation shows what the tests have seen. */
export async function pictured(page: Page, name: string): Promise<void> {
  const folder = process.env["TRELLIS_SCREENSHOTS"];
  if (folder !== undefined) await page.screenshot({ path: `${folder}/${name}.png` });
}

/** Fails with every serious finding of axe. */
export async function accessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  const serious = violations.filter((one) => one.impact === "serious" || one.impact === "critical");
  expect(serious.map((one) => `${one.id}: ${one.nodes.map((node) => node.html).slice(0, 3).join("\n")}`)).toEqual([]);
}

/** Fails where the page has to be scrolled sideways, but for what scrolls in a frame of its own. */
export async function fits(page: Page): Promise<void> {
  const wide = await page.evaluate(() => [...document.querySelectorAll("main *")]
    .filter((one) => one.closest(".graph, .code, .pf-v6-screen-reader") === null && one.getBoundingClientRect().right > innerWidth + 1)
    .map((one) => `${one.tagName}.${one.getAttribute("class") ?? ""}: ${(one.textContent).slice(0, 60)}`).slice(0, 5));
  expect(wide).toEqual([]);
}
