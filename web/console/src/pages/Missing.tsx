// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

import { Link, useLocation } from "react-router";

import { Frame, Nothing } from "../parts/Frame";

export function MissingPage() {
  const { pathname } = useLocation();
  return (
    <Frame title="No such page" says="">
      <Nothing title={`There is no page ${pathname}`} action={<Link to="/">Go to the first page</Link>}>
        The link is of another version, or was cut short.
      </Nothing>
    </Frame>
  );
}
