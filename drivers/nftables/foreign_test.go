package nftables_test

import (
	"context"
	"os/exec"
	"strings"
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/prove"
)

// What others have on our path and what would defeat the intent is named and
// keeps the point from being proved; what cannot hurt does not.
func TestForeignObjectsAreNamed(t *testing.T) {
	ctx := context.Background()
	ns := newNetns(t)
	run := func(script string) {
		t.Helper()
		cmd := exec.Command("ip", "netns", "exec", ns, "nft", "-f", "-")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("nft: %v: %s", err, out)
		}
	}
	d := nftables.New(nftables.Options{Site: "test", Netns: ns})
	want := desired(t, permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80)), []compile.Point{small()})
	have, err := d.Read(ctx)
	if err != nil {
		t.Fatal(err)
	}
	r, err := d.Render(want, have)
	if err != nil {
		t.Fatal(err)
	}
	ch, err := d.Diff(have, r.State)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Apply(ctx, ch); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		name, rule, object string
		harmless           bool
	}{
		{"drop", "chain f { type filter hook forward priority 10; tcp dport 9 drop; }", "table inet other", false},
		{"policy drop", "chain f { type filter hook forward priority -10; policy drop; }", "table inet other", false},
		{"reject", "chain f { type filter hook forward priority 10; reject; }", "table inet other", false},
		{"notrack", "chain f { type filter hook prerouting priority -300; udp dport 53 notrack; }", "table inet other", false},
		{"ct mark", "chain f { type filter hook postrouting priority 0; ct mark set 0x42000001; }", "table inet other", false},
		{"meta mark ahead", "chain f { type filter hook forward priority -10; meta mark set 0x42000001; }", "table inet other", false},
		{"accept", "chain f { type filter hook forward priority -10; counter accept; }", "", true},
		{"log", "chain f { type filter hook forward priority 10; log prefix \"x\"; }", "", true},
		{"nat", "chain f { type nat hook postrouting priority 100; ip saddr 10.0.0.0/8 masquerade; }", "", true},
		{"input only", "chain f { type filter hook input priority 0; tcp dport 22 drop; }", "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			run("table inet other { " + strings.ReplaceAll(c.rule, "; }", ";\n}\n") + "\n}\n")
			defer run("delete table inet other")
			s, err := d.Read(ctx)
			if err != nil {
				t.Fatal(err)
			}
			res := proveState(t, d, want, s)
			if res.Proved != c.harmless {
				t.Fatalf("proved=%v: %+v", res.Proved, res.Findings)
			}
			if c.harmless {
				return
			}
			for _, f := range res.Findings {
				if !f.Harmless && strings.Contains(f.Object, c.object) {
					return
				}
			}
			t.Errorf("nothing names %q: %+v", c.object, res.Findings)
		})
	}
}

func proveState(t *testing.T, d driver.Driver, want driver.Desired, s driver.State) prove.Result {
	t.Helper()
	dec, err := d.Decode(s)
	if err != nil {
		t.Fatal(err)
	}
	return prove.Device(want.View.Matrix, want.Points, dec)[0]
}
