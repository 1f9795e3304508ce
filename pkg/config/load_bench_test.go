package config

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"bulkhead/inventory"
)

// estateCSV writes n assets as a site would: an address each, a fifth of them
// IPv6, and three labels that do not depend on each other.
func estateCSV(n int) string {
	rng := rand.New(rand.NewPCG(1, 2))
	var b strings.Builder
	b.WriteString("id,kind,addresses,labels.site,labels.env,labels.role\n")
	at := uint32(10 << 24)
	for i := range n {
		at += 1 + rng.Uint32N(8)
		addr := fmt.Sprintf("%d.%d.%d.%d", at>>24, at>>16&255, at>>8&255, at&255)
		if i%5 == 0 {
			addr = fmt.Sprintf("2001:db8::%x:%x", at>>16, at&0xffff)
		}
		fmt.Fprintf(&b, "h%d,server,%s,s%d,e%d,r%d\n", i, addr, rng.IntN(50), rng.IntN(4), rng.IntN(25))
	}
	return b.String()
}

func writeEstate(tb testing.TB, n int) string {
	tb.Helper()
	dir := tb.TempDir()
	for name, text := range map[string]string{"bulkhead.yaml": "drift: report\n", "inventory/estate.csv": estateCSV(n)} {
		p := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			tb.Fatal(err)
		}
		if err := os.WriteFile(p, []byte(text), 0o644); err != nil {
			tb.Fatal(err)
		}
	}
	return dir
}

// cpuTime is what the process has used so far, the collector's work included:
// on several cores wall time hides it.
func cpuTime() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkReadEstate goes from the files on disk to merged assets.
func BenchmarkReadEstate(b *testing.B) {
	dir := writeEstate(b, 100_000)
	b.ReportAllocs()
	start := cpuTime()
	var inv *inventory.Inventory
	for b.Loop() {
		site, diags := Load(dir)
		if diags.Len() != 0 {
			b.Fatal(diags.Text(site.Source))
		}
		inv = inventory.Merge([]inventory.Report{site.Report()}, inventory.MergeOptions{})
	}
	b.ReportMetric((cpuTime()-start).Seconds()/float64(b.N), "cpu-s/op")
	if len(inv.Assets) != 100_000 {
		b.Fatalf("%d assets", len(inv.Assets))
	}
}

// BenchmarkHeldEstate tells how many bytes an asset takes while the site and the
// inventory are held.
func BenchmarkHeldEstate(b *testing.B) {
	const n = 100_000
	dir := writeEstate(b, n)
	for b.Loop() {
		before := liveHeap()
		site, _ := Load(dir)
		mid := liveHeap()
		inv := inventory.Merge([]inventory.Report{site.Report()}, inventory.MergeOptions{})
		both := liveHeap()
		runtime.KeepAlive(site)
		site = nil
		after := liveHeap()
		runtime.KeepAlive(inv)
		b.ReportMetric(float64(mid-before)/n, "site-B/asset")
		b.ReportMetric(float64(both-mid)/n, "merged-B/asset")
		b.ReportMetric(float64(after-before)/n, "merged-alone-B/asset")
	}
}

func liveHeap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
