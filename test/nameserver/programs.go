// Copyright The Trellis Authors
// SPDX-License-Identifier: Apache-2.0

package nameserver

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// programs write a configuration into a folder and describe the command.
var programs = map[Kind]func(ctx context.Context, s *Server, dir string, port int) (*exec.Cmd, error){
	BIND: bind, Knot: knot, PowerDNS: powerDNS,
}

// zoneFile is a zone with nothing in it. The serial is low so that each server
// counts in its own way.
func (s *Server) zoneFile() string {
	return fmt.Sprintf("$ORIGIN %s\n$TTL 300\n@ IN SOA ns hostmaster 1 3600 600 86400 60\n@ IN NS ns.elsewhere.invalid.\n", s.Zone.FQDN())
}

// program finds a program; those for administrators may not be on the path.
func program(kind Kind, name string) (string, error) {
	if path, err := exec.LookPath(name); err == nil {
		return path, nil
	}
	for _, folder := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if path, err := exec.LookPath(filepath.Join(folder, name)); err == nil {
			return path, nil
		}
	}
	return "", &UnavailableError{kind, "the program " + name + " is not installed"}
}

func write(dir string, files map[string]string) error {
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return fmt.Errorf("configuring a name server: %w", err)
		}
	}
	return nil
}

func bind(_ context.Context, s *Server, dir string, port int) (*exec.Cmd, error) {
	path, err := program(BIND, "named")
	if err != nil {
		return nil, err
	}
	config := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port), "KEY", string(s.KeyName), "SECRET", s.Secret, "ZONE", string(s.Zone)).Replace(`
key "KEY" { algorithm hmac-sha256; secret "SECRET"; };
controls { };
options {
	directory "DIR"; pid-file "DIR/pid"; session-keyfile "DIR/session.key";
	listen-on port PORT { 127.0.0.1; }; listen-on-v6 { none; };
	recursion no; notify no; dnssec-validation no;
	allow-query { any; }; allow-transfer { key "KEY"; };
};
zone "ZONE" { type primary; file "DIR/zone"; allow-update { key "KEY"; }; };
`)
	if err := write(dir, map[string]string{"named.conf": config, "zone": s.zoneFile()}); err != nil {
		return nil, err
	}
	return exec.Command(path, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf")), nil
}

func knot(_ context.Context, s *Server, dir string, port int) (*exec.Cmd, error) {
	path, err := program(Knot, "knotd")
	if err != nil {
		return nil, err
	}
	config := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port), "KEY", string(s.KeyName), "SECRET", s.Secret, "ZONE", string(s.Zone)).Replace(`
server:
    rundir: "DIR"
    listen: 127.0.0.1@PORT
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
log:
  - target: stderr
    any: info
database:
    storage: "DIR"
    journal-db-max-size: 16M
key:
  - id: KEY
    algorithm: hmac-sha256
    secret: SECRET
acl:
  - id: writer
    key: KEY
    action: [update, transfer]
zone:
  - domain: ZONE
    storage: "DIR"
    file: zone
    acl: writer
    zonefile-sync: -1
`)
	if err := write(dir, map[string]string{"knot.conf": config, "zone": s.zoneFile()}); err != nil {
		return nil, err
	}
	return exec.Command(path, "-c", filepath.Join(dir, "knot.conf")), nil
}

// powerDNSSchema is where Debian's package has the schema of its database.
const powerDNSSchema = "/usr/share/pdns-backend-sqlite3/schema/schema.sqlite3.sql"

func powerDNS(ctx context.Context, s *Server, dir string, port int) (*exec.Cmd, error) {
	paths := map[string]string{}
	for _, name := range []string{"pdns_server", "pdnsutil", "sqlite3"} {
		path, err := program(PowerDNS, name)
		if err != nil {
			return nil, err
		}
		paths[name] = path
	}
	if _, err := os.Stat(powerDNSSchema); err != nil {
		return nil, &UnavailableError{PowerDNS, "the package pdns-backend-sqlite3 is not installed"}
	}
	database := filepath.Join(dir, "zones.sqlite3")
	// Without caches: questions follow at once on updates.
	config := strings.NewReplacer("DIR", dir, "PORT", fmt.Sprint(port), "DATABASE", database).Replace(`
launch=gsqlite3
gsqlite3-database=DATABASE
gsqlite3-dnssec=yes
gsqlite3-pragma-synchronous=0
local-address=127.0.0.1
local-port=PORT
socket-dir=DIR
daemon=no
guardian=no
disable-syslog=yes
write-pid=no
dnsupdate=yes
allow-dnsupdate-from=127.0.0.0/8
cache-ttl=0
query-cache-ttl=0
negquery-cache-ttl=0
zone-cache-refresh-interval=0
receiver-threads=1
distributor-threads=1
loglevel=4
`)
	if err := write(dir, map[string]string{"pdns.conf": config, "zone": s.zoneFile()}); err != nil {
		return nil, err
	}
	util := func(args ...string) []string {
		return append([]string{paths["pdnsutil"], "--config-dir=" + dir}, args...)
	}
	for _, args := range [][]string{
		{paths["sqlite3"], database, ".read " + powerDNSSchema},
		util("load-zone", string(s.Zone), filepath.Join(dir, "zone")),
		util("set-kind", string(s.Zone), "primary"),
		util("import-tsig-key", string(s.KeyName), s.Algorithm, s.Secret),
		util("set-meta", string(s.Zone), "TSIG-ALLOW-DNSUPDATE", string(s.KeyName)),
		util("set-meta", string(s.Zone), "TSIG-ALLOW-AXFR", string(s.KeyName)),
	} {
		if output, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("configuring PowerDNS with %s: %w\n%s", filepath.Base(args[0]), err, output)
		}
	}
	return exec.Command(paths["pdns_server"], "--config-dir="+dir), nil
}
