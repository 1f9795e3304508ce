package nftables_test

import (
	"fmt"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/drivers/nftables/render"
	"bulkhead/internal/tries"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/drivertest"
	"bulkhead/pkg/policy/policytest"
)

// The kernel's own firewall is held to the contract like every other device. What
// takes part is real: a namespace, the kernel's nf_tables, and the nft tool in the
// part of everybody else.
func TestConformance(t *testing.T) {
	drivertest.Run(t, drivertest.Factory{
		Name:       "nftables",
		New:        newSubject,
		Placements: []drivertest.Placement{drivertest.Quiet(), drivertest.Gateway("eth1", "eth0")},
		World:      policytest.Options{MaxAssets: 3, MaxGroups: 3, MaxPolicies: 3, NoTimed: true},
		Random:     tries.Of(3),
		Budget:     map[string]int{"elements": 3},
	})
}

// nft runs the nft tool in a namespace.
func nft(t testing.TB, ns, script string, args ...string) string {
	t.Helper()
	c := exec.Command("ip", append([]string{"netns", "exec", ns, "nft"}, args...)...)
	if script != "" {
		c = exec.Command("ip", "netns", "exec", ns, "nft", "-f", "-")
		c.Stdin = strings.NewReader(script)
	}
	out, err := c.CombinedOutput()
	if err != nil {
		t.Fatalf("nft %s %s: %v: %s", script, strings.Join(args, " "), err, out)
	}
	return string(out)
}

func newSubject(t testing.TB) *drivertest.Subject {
	ns := newNetns(t)
	ours := render.TableName(drivertest.Site)
	others := []string{"inet others", "ip " + ours, "inet " + ours + "2"}
	return &drivertest.Subject{
		Driver: func() driver.Driver {
			return nftables.New(nftables.Options{Site: drivertest.Site, Netns: ns, Interfaces: []string{"eth0", "eth1"}})
		},
		Unreachable: func() driver.Driver {
			return nftables.New(nftables.Options{Site: drivertest.Site, Netns: ns + "-gone"})
		},
		Dump: func() []byte { return []byte(nft(t, ns, "", "-s", "list", "ruleset")) },
		AddForeign: func() {
			for _, table := range others {
				nft(t, ns, fmt.Sprintf("table %s {\n set s { type ipv4_addr; elements = { 10.0.0.10 } }\n chain c { ip saddr @s accept; counter drop; }\n}", table))
			}
		},
		Foreign: func() []byte {
			var out strings.Builder
			for _, table := range others {
				if all := nft(t, ns, "", "list", "tables"); strings.Contains(all, "table "+table+"\n") {
					out.WriteString(nft(t, ns, "", "-s", "-a", "list", "table", strings.Fields(table)[0], strings.Fields(table)[1]))
				}
			}
			return []byte(out.String())
		},
		// An accept of somebody else lets nothing through that we drop; a mark that we
		// take for a permitted flow's does.
		AddRival: func() {
			for _, hook := range []string{"prerouting", "output"} {
				nft(t, ns, fmt.Sprintf("table inet rival {\n chain %s {\n  type filter hook %s priority mangle; policy accept;\n  ct mark set 0x%x\n }\n}\n", hook, hook, render.VerdictBase|1))
			}
		},
		Tamper: func(n int) string { return tamper(t, ns, ours, n) },
	}
}

// tamper changes one thing of ours: an accept ahead of a base chain, a chain
// emptied, a set or map emptied, one element less, one rule less, everything gone.
func tamper(t testing.TB, ns, table string, n int) string {
	text := nft(t, ns, "", "-a", "list", "table", "inet", table)
	chains := regexp.MustCompile(`(?m)^\tchain (\S+) \{.*\n(.*)`).FindAllStringSubmatch(text, -1)
	var base, full []string
	for _, c := range chains {
		if strings.Contains(c[2], "hook") && (strings.Contains(c[2], "hook forward") || strings.Contains(c[2], "hook input")) {
			base = append(base, c[1])
		} else if strings.Contains(c[2], "# handle") {
			full = append(full, c[1])
		}
	}
	filled := regexp.MustCompile(`(?m)^\t(set|map) (\S+) \{[^}]*?elements = \{`).FindAllStringSubmatch(text, -1)
	var script string
	switch pick := n / 6; n % 6 {
	case 0:
		script = fmt.Sprintf("insert rule inet %s %s accept", table, base[pick%len(base)])
	case 1:
		script = fmt.Sprintf("flush chain inet %s %s", table, base[pick%len(base)])
	case 2:
		f := filled[pick%len(filled)]
		script = fmt.Sprintf("flush %s inet %s %s", f[1], table, f[2])
	case 3:
		script = fmt.Sprintf("flush chain inet %s %s", table, full[pick%len(full)])
	case 4:
		f := filled[len(filled)-1-pick%len(filled)]
		script = fmt.Sprintf("flush %s inet %s %s", f[1], table, f[2])
	case 5:
		script = fmt.Sprintf("delete table inet %s", table)
	}
	nft(t, ns, script+"\n")
	return script
}
