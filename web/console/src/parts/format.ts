// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import type { Interval } from "../api/types";

const numbers = new Intl.NumberFormat("en-GB");

export function count(n: number): string {
  return numbers.format(n);
}

/** "1 rule", "2 rules". */
export function plural(n: number, noun: string): string {
  return `${count(n)} ${noun}${n === 1 ? "" : "s"}`;
}

const units: readonly (readonly [string, number])[] = [["day", 86_400], ["hour", 3600], ["minute", 60]];

/** How long ago or ahead a moment is, in its largest unit: "3 hours ago", "in 2 days". */
export function distance(moment: string, now: number): string {
  const seconds = (Date.parse(moment) - now) / 1000;
  if (Number.isNaN(seconds)) return moment;
  for (const [unit, length] of units) {
    const n = Math.floor(Math.abs(seconds) / length);
    if (n >= 1) return seconds < 0 ? `${plural(n, unit)} ago` : `in ${plural(n, unit)}`;
  }
  return seconds <= 0 ? "just now" : "in less than a minute";
}

/** A time of day, with its date where that is not the one of now. */
export function clock(moment: string, now: number): string {
  const at = new Date(moment);
  if (Number.isNaN(at.getTime())) return moment;
  const time = at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  if (at.toDateString() === new Date(now).toDateString()) return time;
  return `${at.toLocaleDateString("en-GB", { day: "numeric", month: "short" })} ${time}`;
}

/** A time in which nothing was counted: "10:02–10:05". */
export function interval(of: Interval, now: number): string {
  const from = clock(of.from, now);
  const to = clock(of.to, now);
  const day = to.slice(0, -5);
  return `${from}–${day !== "" && from.startsWith(day) ? to.slice(-5) : to}`;
}

/** The colour of a state. What nobody knows is grey, so that it is not taken for fine. */
export type Tone = "green" | "red" | "orange" | "blue" | "grey";

const tones: Readonly<Record<string, Tone>> = {
  Met: "green", Passing: "green", Passed: "green", OK: "green", Ready: "green", True: "green", Allow: "green", Answered: "green", Issued: "green", Published: "green",
  NotMet: "red", Failing: "red", Failed: "red", Fails: "red", CONFLICT: "red", Deny: "red", False: "red", NewlyAllowed: "red",
  PARTIAL: "orange", Exempt: "orange", Waiting: "orange", Overridden: "orange", NoEffect: "orange", NewlyDenied: "orange", NoRoute: "orange",
  ByAnotherRule: "blue",
};

export function tone(state: string): Tone {
  return Object.hasOwn(tones, state) ? (tones[state] ?? "grey") : "grey";
}

/** A state in words: "NotMet" is "not met". Names stay as they are. */
export function words(state: string): string {
  if (state === "OK" || state === "TLS") return state;
  if (state === "MutualTLS") return "mutual TLS";
  return state.toUpperCase() === state ? state.toLowerCase() : state.replaceAll(/(?<=[a-z])(?=[A-Z])/g, " ").toLowerCase();
}
