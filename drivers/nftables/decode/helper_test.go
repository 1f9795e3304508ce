package decode

import (
	"bytes"
	"context"
	"net/netip"
	"os/exec"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// loader loads nft text into the kernel, in a network namespace of its own, and
// reads back what the kernel made of it.
type loader struct {
	tb   testing.TB
	conn *kernel.Conn
}

// newLoader binds the test to a thread in a fresh namespace. Without the
// privilege for that the test fails: a skipped test proves nothing.
func newLoader(tb testing.TB) *loader {
	tb.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		tb.Fatalf("make a network namespace: %v: these tests need root, or `unshare -rnm`", err)
	}
	c, err := kernel.Open("")
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { c.Close() })
	return &loader{tb, c}
}

func (l *loader) try(text string) (*ruleset.Ruleset, string) {
	cmd := exec.Command("nft", "-f", "-")
	cmd.Stdin = bytes.NewBufferString("flush ruleset\n" + text)
	if out, err := cmd.CombinedOutput(); err != nil {
		return nil, string(out)
	}
	rs, err := l.conn.Read(context.Background(), func(*ruleset.Table) bool { return true })
	if err != nil {
		return nil, err.Error()
	}
	return rs, ""
}

func (l *loader) load(text string) *ruleset.Ruleset {
	l.tb.Helper()
	rs, msg := l.try(text)
	if msg != "" {
		l.tb.Fatalf("nft: %.1000s\n%.4000s", msg, text)
	}
	return rs
}

func testOptions() Options {
	return Options{Table: "t", MarkValue: 0x42000000, MarkMask: 0xff000000}
}

// table wraps chains and sets into our table. The rule on ct state makes the
// kernel reassemble fragments.
func table(body string) string {
	return "table inet t {\n" + body + "\nchain unused { ct state new counter; }\n}\n"
}

func find(tb testing.TB, d *driver.Decoded, hook string, tr driver.Tracking) []driver.Relation {
	tb.Helper()
	var out []driver.Relation
	for _, r := range d.Relations {
		if r.Situation.Hook == hook && r.Situation.Tracking == tr {
			out = append(out, r)
		}
	}
	return out
}

func classIndex(tb testing.TB, list []packet.Addrs, a netip.Addr) int {
	tb.Helper()
	at := -1
	for i, s := range list {
		if s.Contains(a) {
			if at >= 0 {
				tb.Fatalf("%s is in two classes", a)
			}
			at = i
		}
	}
	if at < 0 {
		tb.Fatalf("%s is in no class", a)
	}
	return at
}

// permits asks a relation for two addresses.
func permits(tb testing.TB, r driver.Relation, src, dst string) packet.Services {
	tb.Helper()
	s, d := netip.MustParseAddr(src), netip.MustParseAddr(dst)
	i, j := classIndex(tb, r.Src, s), classIndex(tb, r.Dst, d)
	out := r.Permit(i, j)
	if r.Rest != nil {
		out = out.Union(driver.Permits(r.Rest(i, j), s, d))
	}
	return out
}

// relation picks one relation by interface and source port.
func relation(tb testing.TB, d *driver.Decoded, hook string, tr driver.Tracking, in string, sport uint16, expired bool) driver.Relation {
	tb.Helper()
	for _, r := range find(tb, d, hook, tr) {
		s := r.Situation
		if s.In == in && s.SrcPortLo <= sport && sport <= s.SrcPortHi && s.Expired == expired {
			return r
		}
	}
	tb.Fatalf("no relation %s %s in=%q sport=%d expired=%v", hook, tr, in, sport, expired)
	return driver.Relation{}
}

func problems(d *driver.Decoded) []string {
	var out []string
	for _, f := range d.Findings {
		if !f.Harmless {
			out = append(out, f.Object+": "+f.Text)
		}
	}
	return out
}

func wantClean(tb testing.TB, d *driver.Decoded) {
	tb.Helper()
	if p := problems(d); len(p) > 0 {
		tb.Fatalf("findings:\n%s", strings.Join(p, "\n"))
	}
}
