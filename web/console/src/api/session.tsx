// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

// Who looks, and when what is shown may have changed.

import { createContext, useCallback, useContext, useEffect, useMemo, useRef, useState, type ReactNode } from "react";

import { get, keepToken, Refusal } from "./client";
import { follow, type Following } from "./events";
import type { Me } from "./types";

interface Session {
  me: Me;
  /** Counts up whenever an answer may have changed. */
  revision: number;
  following: Following;
  leave: () => void;
}

const Context = createContext<Session | null>(null);

export function useSession(): Session {
  const session = useContext(Context);
  if (session === null) throw new Error("there is no session above this component");
  return session;
}

/** Bounds how often pages ask again: counts may be appended many times a second. */
const settle = 700;

export interface Door {
  refusal: Refusal | null;
  enter: (token: string) => void;
}

/** Shows its children to who is let in, and the login to everybody else. */
export function SessionProvider({ children, login, waiting }: { children: ReactNode; login: (door: Door) => ReactNode; waiting: ReactNode }) {
  const [me, setMe] = useState<Me | null>(null);
  const [refusal, setRefusal] = useState<Refusal | null>(null);
  const [attempt, setAttempt] = useState(0);
  const [revision, setRevision] = useState(0);
  const [following, setFollowing] = useState<Following>("live");

  useEffect(() => {
    const ending = new AbortController();
    get<Me>("me", ending.signal).then(
      (found) => {
        setMe(found);
        setRefusal(null);
      },
      (error: unknown) => {
        if (ending.signal.aborted) return;
        setMe(null);
        setRefusal(error instanceof Refusal ? error : new Refusal(0, String(error)));
      },
    );
    return () => { ending.abort(); };
  }, [attempt]);

  const enter = useCallback((token: string) => {
    keepToken(token);
    setRefusal(null);
    setMe(null);
    setAttempt((n) => n + 1);
  }, []);
  const leave = useCallback(() => { enter(""); }, [enter]);

  const user = me?.user;
  useEffect(() => {
    if (user === undefined) return;
    const ending = new AbortController();
    let timer: ReturnType<typeof setTimeout> | undefined;
    const heard = (event: string) => {
      if (event === "refused") setAttempt((n) => n + 1);
      timer ??= setTimeout(() => {
        timer = undefined;
        setRevision((n) => n + 1);
      }, settle);
    };
    // A server that is busy for a moment is not lost yet.
    let losing: ReturnType<typeof setTimeout> | undefined;
    const stands = (how: Following) => {
      if (how === "live") {
        clearTimeout(losing);
        losing = undefined;
        setFollowing("live");
      } else losing ??= setTimeout(() => { setFollowing("lost"); }, 3000);
    };
    void follow(ending.signal, heard, stands);
    return () => {
      ending.abort();
      clearTimeout(timer);
      clearTimeout(losing);
    };
  }, [user]);

  const session = useMemo(() => (me === null ? null : { me, revision, following, leave }), [me, revision, following, leave]);
  if (session !== null) return <Context value={session}>{children}</Context>;
  return refusal === null ? waiting : login({ refusal, enter });
}

const Now = createContext(0);

/** The time, to the minute or less: what is said of distances follows by itself. */
export function useNow(): number {
  return useContext(Now);
}

export function NowProvider({ children }: { children: ReactNode }) {
  const [now, setNow] = useState(() => Date.now());
  useEffect(() => {
    const timer = setInterval(() => { setNow(Date.now()); }, 15_000);
    return () => { clearInterval(timer); };
  }, []);
  return <Now value={now}>{children}</Now>;
}

export interface Asked<T> {
  answer: T | null;
  refusal: Refusal | null;
  /** True until there is a first answer, or a refusal. */
  waiting: boolean;
}

/**
 * Asks for one path, again and again. A question is never given up for a newer one: where
 * answers take long and changes come often, there would be none at all.
 */
class Asking<T> {
  private readonly ending = new AbortController();
  private busy = false;
  private stale = false;
  private timer: ReturnType<typeof setTimeout> | undefined;
  private readonly path: string;
  private readonly tell: (answer: T | null, refusal: Refusal | null) => void;

  constructor(path: string, tell: (answer: T | null, refusal: Refusal | null) => void) {
    this.path = path;
    this.tell = tell;
  }

  ask(): void {
    if (this.busy) {
      this.stale = true;
      return;
    }
    this.busy = true;
    clearTimeout(this.timer);
    get<T>(this.path, this.ending.signal).then(
      (answer) => { this.done(answer, null); },
      (error: unknown) => { this.done(null, error instanceof Refusal ? error : new Refusal(0, String(error))); },
    );
  }

  end(): void {
    this.ending.abort();
    clearTimeout(this.timer);
  }

  private done(answer: T | null, refusal: Refusal | null): void {
    if (this.ending.signal.aborted) return;
    this.busy = false;
    this.tell(answer, refusal);
    if (this.stale) {
      this.stale = false;
      this.ask();
    } else if (refusal !== null && (refusal.status === 0 || refusal.status === 503)) {
      // What does not answer now may do so soon: nobody has to reload the page.
      this.timer = setTimeout(() => { this.ask(); }, 3000);
    }
  }
}

/**
 * The answer to a path, asked again whenever it may have changed. What was answered before
 * stays until then, so that nothing flickers; null asks nothing.
 */
export function useAnswer<T>(path: string | null): Asked<T> {
  const { revision } = useSession();
  const [state, setState] = useState<{ path: string | null; answer: T | null; refusal: Refusal | null }>({ path: null, answer: null, refusal: null });
  const asking = useRef<Asking<T> | null>(null);

  useEffect(() => {
    if (path === null) return;
    const one = new Asking<T>(path, (answer, refusal) => {
      setState((before) => ({ path, answer: answer ?? (before.path === path ? before.answer : null), refusal }));
    });
    asking.current = one;
    return () => {
      one.end();
      asking.current = null;
    };
  }, [path]);
  useEffect(() => { asking.current?.ask(); }, [path, revision]);

  const same = state.path === path;
  return { answer: same ? state.answer : null, refusal: same ? state.refusal : null, waiting: path !== null && (!same || (state.answer === null && state.refusal === null)) };
}
