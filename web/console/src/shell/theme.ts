// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

export type Theme = "system" | "light" | "dark";

const key = "trellis-theme";
const dark = matchMedia("(prefers-color-scheme: dark)");

export function theme(): Theme {
  const kept = localStorage.getItem(key);
  return kept === "light" || kept === "dark" ? kept : "system";
}

export function keepTheme(of: Theme): void {
  localStorage.setItem(key, of);
  applyTheme(of);
}

/** Turns PatternFly's dark theme on or off. */
export function applyTheme(of: Theme): void {
  document.documentElement.classList.toggle("pf-v6-theme-dark", of === "dark" || (of === "system" && dark.matches));
}

dark.addEventListener("change", () => { applyTheme(theme()); });
