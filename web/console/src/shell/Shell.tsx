// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import {
  Alert, Button, FormSelect, FormSelectOption, Masthead, MastheadBrand, MastheadContent, MastheadMain, MastheadToggle, Nav, NavItem, NavList, Page, PageSidebar, PageSidebarBody,
  PageToggleButton, Toolbar, ToolbarContent, ToolbarGroup, ToolbarItem,
} from "@patternfly/react-core";
import { BarsIcon } from "@patternfly/react-icons";
import { useState, type ReactNode } from "react";
import { Link, useLocation } from "react-router";

import { token } from "../api/client";
import { useSession } from "../api/session";
import { keepTheme, theme, type Theme } from "./theme";

const pages = [
  ["/layers", "Layers"], ["/applications", "Applications"], ["/doors", "Front doors"], ["/graph", "Graph"], ["/explain", "Explain"], ["/change", "Change"], ["/counts", "Counts"],
] as const;

/** What is around every page: who is seen as whom, and where else to go. */
export function Shell({ children }: { children: ReactNode }) {
  const { pathname } = useLocation();
  const { following } = useSession();
  // On a wide screen the menu begins open, on a narrow one it would hide the page.
  const [open, setOpen] = useState(wide);
  return (
    <>
      <a className="skip" href="#content">Skip to content</a>
      <Page masthead={<Head open={open} toggle={() => { setOpen(!open); }} />} mainContainerId="content" sidebar={<Menu pathname={pathname} open={open} chosen={() => { setOpen(wide()); }} />}>
        {following === "lost" && (
          <Alert isInline variant="warning" component="h2" title="The server does not answer: what is shown may be old">
            The page connects again by itself. See that trellis console, or whatever forwards to the server, still runs.
          </Alert>
        )}
        {children}
      </Page>
    </>
  );
}

function wide(): boolean {
  return matchMedia("(min-width: 75rem)").matches;
}

function Menu({ pathname, open, chosen }: { pathname: string; open: boolean; chosen: () => void }) {
  const { me } = useSession();
  return (
    <PageSidebar isSidebarOpen={open}>
      <PageSidebarBody>
        <Nav aria-label="Pages">
          <NavList>
            {pages.map(([path, name]) => {
              const active = pathname === path || pathname.startsWith(`${path}/`);
              return (
                <NavItem key={path} isActive={active}>
                  <Link to={path} onClick={chosen} aria-current={active ? "page" : undefined}>{name}</Link>
                </NavItem>
              );
            })}
          </NavList>
        </Nav>
        {/* Where the head of the page has no room for it. */}
        <p className="seen long"><span className="quiet">Seen as</span> {me.user}<span className="quiet">, {role(me.layer)}</span></p>
      </PageSidebarBody>
    </PageSidebar>
  );
}

function Head({ open, toggle }: { open: boolean; toggle: () => void }) {
  const { me, leave } = useSession();
  return (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton aria-label="Pages" aria-expanded={open} isSidebarOpen={open} onSidebarToggle={toggle}><BarsIcon /></PageToggleButton>
        </MastheadToggle>
        <MastheadBrand><Link to="/">Trellis</Link></MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Toolbar isStatic>
          <ToolbarContent>
            <ToolbarGroup align={{ default: "alignEnd" }}>
              <ToolbarItem visibility={{ default: "hidden", lg: "visible" }}>
                <span><span className="quiet">Seen as</span> <span data-testid="user">{me.user}</span><span className="quiet">, {role(me.layer)}</span></span>
              </ToolbarItem>
              <ToolbarItem><ThemeChoice /></ToolbarItem>
              {token() !== "" && <ToolbarItem><Button variant="secondary" onClick={leave}>Log out</Button></ToolbarItem>}
            </ToolbarGroup>
          </ToolbarContent>
        </Toolbar>
      </MastheadContent>
    </Masthead>
  );
}

function role(layer: string): string {
  return { application: "application developer", platform: "platform operator", security: "security officer" }[layer] ?? "viewer";
}

function ThemeChoice() {
  const [chosen, choose] = useState<Theme>(theme());
  return (
    <FormSelect
      aria-label="Theme" value={chosen} className="narrow"
      onChange={(_, value) => {
        const next = value as Theme;
        choose(next);
        keepTheme(next);
      }}
    >
      <FormSelectOption value="system" label="System" />
      <FormSelectOption value="light" label="Light" />
      <FormSelectOption value="dark" label="Dark" />
    </FormSelect>
  );
}
