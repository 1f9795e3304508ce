package main

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/spf13/cobra"
)

// starter is the site that `init` writes: it loads, and enforces nothing until
// its point says so.
var starter = map[string]string{
	"bulkhead.yaml": `# yaml-language-server: $schema=./bulkhead.schema.json
name: my-site

points:
  gw:
    driver: nftables
    mode: observe              # counts and logs what it would drop; later: enforce
    zones:                     # the gateway's interfaces, and what lies behind them
      lan: {interfaces: [eth1]}
      servers: {interfaces: [eth2], prefixes: [10.0.2.0/24], antispoof: observe}

failsafe:                      # how you reach the gateway, whatever policy says
  - {point: gw, from: [10.0.1.10], service: tcp/22}

observe_learn: 60s
`,
	"inventory/assets.yaml": `assets:
  admin-pc:
    kind: server
    addresses: [10.0.1.10]
    labels: {role: admin}
  web-1:
    kind: vm
    addresses: [10.0.2.20, "2001:db8:2::20"]
    labels: {role: web}
  db-1:
    kind: vm
    addresses: [10.0.2.30]
    labels: {role: db}
`,
	"policy/policy.yaml": `groups:
  any: {isolate: none}         # both: whatever no policy allows is dropped, everywhere
  admins: {where: 'labels.role == "admin"'}
  web: {where: 'labels.role == "web"', isolate: both}
  db: {where: 'labels.role == "db"', isolate: both}

services:
  postgres: tcp/5432
  ping: [icmp/echo-request, icmpv6/echo-request]

policies:
  - {name: everyone-to-web, from: any, to: web, services: [tcp/443], action: allow}
  - {name: web-to-db, from: web, to: db, services: [postgres], action: allow}
  - {name: admins-everywhere, from: admins, to: [web, db], services: [tcp/22, ping], action: allow}
`,
	"tests/tests.yaml": `tests:
  - {name: the web server reads the database, from: web-1, to: db-1, service: postgres, expect: permit}
  - {name: nobody else does, from: admin-pc, to: db-1, service: postgres, expect: deny}
`,
}

func (a *app) initCmd() *cobra.Command {
	return &cobra.Command{
		Use:   "init [DIR]",
		Short: "write a small site directory to start from",
		Args:  cobra.MaximumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			dir := "."
			if len(args) > 0 {
				dir = args[0]
			}
			names := sortedKeys(starter)
			for _, name := range names {
				if _, err := os.Lstat(filepath.Join(dir, name)); err == nil {
					return fmt.Errorf("%q is there already; nothing was written", filepath.Join(dir, name))
				}
			}
			for _, name := range slices.Concat(names, []string{"bulkhead.schema.json"}) {
				if err := writeNew(dir, name); err != nil {
					return err
				}
			}
			fmt.Fprintf(a.out, "wrote a site to %s: edit bulkhead.yaml, then run `bulkhead --site %s plan`\n", dir, dir)
			return nil
		},
	}
}
