// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Follows the server's events. EventSource cannot send a token, so that the stream is read
// by fetch.

import { Refusal, request } from "./client";

/** Takes server-sent events out of text that comes in pieces. */
export class EventReader {
  private rest = "";

  /** The names of the events that the piece completes. */
  take(piece: string): string[] {
    this.rest += piece.replaceAll("\r\n", "\n");
    const blocks = this.rest.split("\n\n");
    this.rest = blocks.pop() ?? "";
    return blocks.flatMap((block) => {
      const line = block.split("\n").find((one) => one.startsWith("event:"));
      return line === undefined ? [] : [line.slice("event:".length).trim()];
    });
  }
}

/** How a stream stands: it follows, or it has lost the server. */
export type Following = "live" | "lost";

/** Calls back on each event until the signal ends it, and connects again when it breaks. */
export async function follow(signal: AbortSignal, heard: (event: string) => void, stands: (how: Following) => void): Promise<void> {
  let patience = 500;
  for (;;) {
    try {
      const response = await request("events", { signal, headers: { Accept: "text/event-stream" } });
      stands("live");
      patience = 500;
      await read(response, heard);
      if (signal.aborted) return;
    } catch (error) {
      if (signal.aborted) return;
      // Who is not let in asks for nothing more: the page asks for a token.
      if (error instanceof Refusal && error.status === 401) {
        heard("refused");
        return;
      }
      stands("lost");
      await pause(patience, signal);
      patience = Math.min(patience * 2, 15_000);
    }
  }
}

async function read(response: Response, heard: (event: string) => void): Promise<void> {
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  if (reader === undefined) return;
  const events = new EventReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    events.take(value).forEach(heard);
  }
}

function pause(milliseconds: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    });
  });
}
