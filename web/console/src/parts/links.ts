// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Where things are looked at: one address for each, so that a link can point at it.

import { withQuery } from "../api/client";

export function toApplication(name: string): string {
  return `/applications/${name.split("/").map(encodeURIComponent).join("/")}`;
}

/** The page that explains a URL, a rule, an object or a line of a log. */
export function toExplain(thing: string): string {
  return withQuery("/explain", { thing });
}

export function toCounts(by: string, more: { namespace?: string; application?: string; since?: string; name?: string } = {}): string {
  return withQuery("/counts", { by, ...more });
}

/** A thing as explain takes it: "Application shop/cart". */
export function toObject(kind: string, name: string): string {
  return kind === "Application" && name.includes("/") ? toApplication(name) : toExplain(`${kind} ${name}`);
}

/** The page of a statement, which begins with its kind: "Application shop/cart". */
export function toStatement(object: string): string {
  const [kind = "", name = ""] = object.split(" ");
  return toObject(kind, name);
}
