// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// What the server answers, by the names that its description has (openapi.json, from
// which schema.d.ts is made). Lists are read through listOf: Go writes none as null.

import type { components } from "./schema";

type Schemas = components["schemas"];

export type Me = Schemas["Me"];
export type Applications = Schemas["Applications"];
export type Summary = Schemas["Summary"];
export type Application = Schemas["Application"];
export type Bound = Schemas["Bound"];
export type Condition = Schemas["Condition"];
export type Hit = Schemas["Hit"];
export type Hits = Schemas["Hits"];
export type Sample = Schemas["Sample"];
export type Samples = Schemas["Samples"];
export type HitRow = Schemas["HitRow"];
export type Interval = Schemas["Interval"];
export type Node = Schemas["Node"];
export type Doors = Schemas["Doors"];
export type Graph = Schemas["Graph"];
export type Edge = Schemas["Edge"];
export type GraphNode = Schemas["GraphNode"];
export type MutualTLS = Schemas["MutualTLS"];
export type Explanation = Schemas["Explanation"];
export type Answer = Schemas["Answer"];
export type Step = Schemas["Step"];
export type Place = Schemas["Place"];
export type Statement = Schemas["Statement"];
export type Changes = Schemas["Changes"];
export type Change = Schemas["Change"];
export type OutgoingCall = Schemas["OutgoingCall"];
export type Problem = Schemas["Problem"];

/** The elements of a list that may be absent or null. */
export function listOf<T>(list: readonly T[] | null | undefined): readonly T[] {
  return list ?? [];
}
