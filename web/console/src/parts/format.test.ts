// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { describe, expect, it } from "vitest";

import { EventReader } from "../api/events";
import { distance, interval, plural, tone, words } from "./format";

const now = Date.parse("2026-11-28T12:00:00");

describe("format", () => {
  it("says how far away a moment is", () => {
    expect(distance("2026-11-28T11:59:30", now)).toBe("just now");
    expect(distance("2026-11-28T11:58:30", now)).toBe("1 minute ago");
    expect(distance("2026-11-27T11:00:00", now)).toBe("1 day ago");
    expect(distance("2026-12-20T12:00:00", now)).toBe("in 22 days");
    expect(distance("nonsense", now)).toBe("nonsense");
  });
  it("says in which time nothing was counted", () => {
    expect(interval({ from: "2026-11-28T10:02:00", to: "2026-11-28T10:05:00" }, now)).toBe("10:02–10:05");
    expect(interval({ from: "2026-11-27T10:02:00", to: "2026-11-27T10:05:00" }, now)).toBe("27 Nov 10:02–10:05");
    expect(interval({ from: "2026-11-27T23:58:00", to: "2026-11-28T00:05:00" }, now)).toBe("27 Nov 23:58–00:05");
  });
  it("keeps one apart from many", () => {
    expect([plural(1, "line"), plural(1234, "line")]).toEqual(["1 line", "1,234 lines"]);
  });
  it("does not take what nobody knows for fine", () => {
    expect([tone("Unknown"), tone("SomethingNew"), tone("constructor")]).toEqual(["grey", "grey", "grey"]);
    expect([words("NotMet"), words("CONFLICT"), words("OK")]).toEqual(["not met", "conflict", "OK"]);
  });
});

describe("EventReader", () => {
  it("puts events together that come in pieces", () => {
    const reader = new EventReader();
    expect(reader.take("event: chan")).toEqual([]);
    expect(reader.take('ged\ndata: {"revision": "7"}\n')).toEqual([]);
    expect(reader.take("\nevent: counted\ndata: {}\n\n: nothing has changed\n\n")).toEqual(["changed", "counted"]);
  });
});
