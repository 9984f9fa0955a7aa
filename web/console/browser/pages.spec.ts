// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { accessible, expect, fits, pictured, settled, test } from "./visitor";

const pages = {
  layers: "/layers?layer=rule", applications: "/applications", application: "/applications/bookinfo/productpage", doors: "/doors", graph: "/graph",
  explain: "/explain?thing=https%3A%2F%2Fbookinfo.example.com%2Fapi%2Fv1%2Fproducts", change: "/change", counts: "/counts?by=route",
};

for (const [name, path] of Object.entries(pages)) {
  for (const [width, scheme] of [[1280, "light"], [1280, "dark"], [360, "light"], [360, "dark"]] as const) {
    test(`${name} is accessible and fits at ${width} px, ${scheme}`, async ({ page, enter }) => {
      await page.setViewportSize({ width, height: 900 });
      await page.emulateMedia({ colorScheme: scheme, reducedMotion: "reduce" });
      await enter("security", path);
      await settled(page);
      await accessible(page);
      await fits(page);
      // Of a change there is a picture where there is something to see.
      if (width === 1280 && scheme === "light" && name !== "change") await pictured(page, name);
      if (width === 360 && scheme === "dark" && name === "applications") await pictured(page, `${name}-narrow`);
    });
  }
}

// A colour that fades is inherited step by step, so that words are unreadable while it goes down a deep page.
test("who prefers less motion sees colours at once", async ({ page, enter }) => {
  await page.emulateMedia({ colorScheme: "dark", reducedMotion: "reduce" });
  await page.addInitScript(() => {
    addEventListener("transitionrun", ({ propertyName, target }) => {
      console.error(`${propertyName} of ${(target as Element).tagName} fades`);
    });
  });
  await enter("security", "/doors");
  await settled(page);
});

test("login is accessible and fits at 360 px", async ({ page }) => {
  await page.setViewportSize({ width: 360, height: 800 });
  await page.goto("/");
  await expect(page.getByRole("heading", { name: "Log in to Trellis" })).toBeVisible();
  await accessible(page);
});

test("a page that does not exist says so and leads back", async ({ enter, page }) => {
  await enter("security", "/no-such-page");
  await page.getByRole("link", { name: "Go to the first page" }).click();
  await expect(page.getByRole("heading", { level: 1, name: "Layers" })).toBeVisible();
});
