// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Asks the server's API. The token stays in this tab: sessionStorage ends with it, and no
// other site can read it.

import type { Problem } from "./types";

const prefix = "/api/v1/";
const key = "trellis-token";

/** Why there is no answer, as the server or the network says it. */
export class Refusal extends Error {
  readonly status: number;
  readonly do: string;

  constructor(status: number, detail: string, what = "") {
    super(detail);
    this.status = status;
    this.do = what;
  }
}

export function token(): string {
  return sessionStorage.getItem(key) ?? "";
}

/** Keeps a token, or forgets it where it is empty. */
export function keepToken(value: string): void {
  if (value === "") sessionStorage.removeItem(key);
  else sessionStorage.setItem(key, value);
}

/** Asks with the token, where there is one: `trellis console` adds one by itself. */
export async function request(path: string, init: RequestInit = {}): Promise<Response> {
  const headers = new Headers(init.headers);
  if (token() !== "") headers.set("Authorization", `Bearer ${token()}`);
  let response: Response;
  try {
    response = await fetch(prefix + path, { ...init, headers, cache: "no-store", credentials: "same-origin" });
  } catch (error) {
    if (init.signal?.aborted === true) throw error;
    throw new Refusal(0, "trellis-server does not answer", "See that trellis console, or whatever forwards to the server, still runs. The page asks again by itself.");
  }
  if (!response.ok) throw await refusal(response);
  return response;
}

export async function get<T>(path: string, signal?: AbortSignal): Promise<T> {
  const response = await request(path, signal === undefined ? {} : { signal });
  return (await response.json()) as T;
}

export async function post<T>(path: string, body: string, type: string, signal?: AbortSignal): Promise<T> {
  const init: RequestInit = { method: "POST", body, headers: { "Content-Type": type } };
  const response = await request(path, signal === undefined ? init : { ...init, signal });
  return (await response.json()) as T;
}

async function refusal(response: Response): Promise<Refusal> {
  const type = response.headers.get("Content-Type") ?? "";
  if (type.includes("json")) {
    try {
      const problem = (await response.json()) as Partial<Problem>;
      return new Refusal(response.status, problem.detail ?? problem.title ?? response.statusText, problem.do);
    } catch {
      // Said to be JSON and is none: a proxy in between. Its status is all there is.
    }
  }
  return new Refusal(response.status, `the server answered ${response.status} ${response.statusText}`.trim(), "The log of trellis-server, or of the proxy in front of it, says why.");
}

/** Makes a path with a query of those values that are not empty. */
export function withQuery(path: string, values: Record<string, string | undefined>): string {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(values)) {
    if (value !== undefined && value !== "") query.set(name, value);
  }
  const text = query.toString();
  return text === "" ? path : `${path}?${text}`;
}
