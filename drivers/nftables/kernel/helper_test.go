package kernel

import (
	"bytes"
	"context"
	"encoding/binary"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// Every test runs against the real kernel, in a network namespace of its own.
// Without the privilege for that they fail: a skipped test proves nothing.

// freshNS puts the test's goroutine into a new network namespace for good: the
// thread is never unlocked, so that it ends with the test. The path leads to it
// from everywhere.
func freshNS(t testing.TB) (path string) {
	t.Helper()
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		t.Fatalf("make a network namespace: %v: these tests need root, or `unshare -rnm` with a /run that can be written", err)
	}
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return "/proc/self/fd/" + itoa(int(f.Fd()))
}

func itoa(n int) string {
	if n < 10 {
		return string(rune('0' + n))
	}
	return itoa(n/10) + string(rune('0'+n%10))
}

// open connects to this thread's namespace.
func open(t testing.TB) *Conn {
	t.Helper()
	c, err := Open("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// run runs a command in this thread's namespace.
func run(t testing.TB, stdin string, name string, args ...string) string {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Stdin = bytes.NewBufferString(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %v: %v\n%s\ninput:\n%s", name, args, err, out, stdin)
	}
	return string(out)
}

func nft(t testing.TB, text string) {
	t.Helper()
	run(t, text, "nft", "-f", "-")
}

func all(*ruleset.Table) bool { return true }

func read(t testing.TB, c *Conn) *ruleset.Ruleset {
	t.Helper()
	r, err := c.Read(context.Background(), all)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func commit(t testing.TB, c *Conn, b *Batch) {
	t.Helper()
	if err := c.Commit(context.Background(), b, 0); err != nil {
		t.Fatal(err)
	}
}

const inet = ruleset.FamilyInet

// be and host are 32-bit keys in the two byte orders.
func be(v uint32) []byte   { return binary.BigEndian.AppendUint32(nil, v) }
func host(v uint32) []byte { return binary.NativeEndian.AppendUint32(nil, v) }

// addressMap is a map of IPv4 addresses to marks.
func addressMap(name string, flags, size uint32) *ruleset.Set {
	return &ruleset.Set{Name: name, Flags: ruleset.SetMap | flags, KeyType: 7, KeyLen: 4, DataType: 19, DataLen: 4, Size: size}
}

func addresses(n int) []ruleset.Element {
	out := make([]ruleset.Element, n)
	for i := range out {
		out[i] = ruleset.Element{Key: be(0x0a000000 + uint32(i)), Data: host(uint32(i) + 1)}
	}
	return out
}
