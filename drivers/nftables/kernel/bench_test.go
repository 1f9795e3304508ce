package kernel

import (
	"context"
	"fmt"
	"math/rand"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
)

// estate is how many elements the lookup tables of an estate of 100,000 addresses
// have.
const estate = 155_000

// cpu is the time in user and kernel mode that this process has used.
func cpu(b testing.TB) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// perCPU reports the processor time of one operation: nf_tables works inside
// sendmsg(2) and recvmsg(2), so that it is the kernel's too. The wall clock of a
// shared machine says little.
func perCPU(b *testing.B, used time.Duration) {
	b.ReportMetric(used.Seconds()/float64(b.N), "cpu-s/op")
}

// shuffled is n addresses in no order, as a map's iteration gives them.
func shuffled(n int) []ruleset.Element {
	el := addresses(n)
	rand.New(rand.NewSource(1)).Shuffle(len(el), func(i, j int) { el[i], el[j] = el[j], el[i] })
	return el
}

// BenchmarkEncode measures the element encoder alone: into a new batch, and into
// one that was used before.
func BenchmarkEncode(b *testing.B) {
	el := shuffled(estate)
	b.Run("new", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var batch Batch
			batch.AddElements(inet, "t", "x", el)
		}
	})
	b.Run("used", func(b *testing.B) {
		b.ReportAllocs()
		var batch Batch
		for b.Loop() {
			batch.Reset()
			batch.AddElements(inet, "t", "x", el)
		}
	})
}

// BenchmarkFirstLoad encodes and commits a new table with one map, in one
// transaction.
func BenchmarkFirstLoad(b *testing.B) {
	for _, n := range []int{10_000, estate, 300_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			freshNS(b)
			c := open(b)
			el := addresses(n)
			b.ReportAllocs()
			var used time.Duration
			for b.Loop() {
				start := cpu(b)
				var batch Batch
				batch.AddTable(inet, "t", 0, nil)
				batch.AddSet(inet, "t", addressMap("x", 0, uint32(n)+16))
				batch.AddElements(inet, "t", "x", el)
				commit(b, c, &batch)
				used += cpu(b) - start
				b.StopTimer()
				var gone Batch
				gone.DelTable(inet, "t")
				commit(b, c, &gone)
				b.StartTimer()
			}
			perCPU(b, used)
		})
	}
}

// BenchmarkReplace encodes and commits a table with one map in place of the last.
func BenchmarkReplace(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			freshNS(b)
			c := open(b)
			el := addresses(n)
			start := cpu(b)
			for b.Loop() {
				var batch Batch
				batch.AddTable(inet, "t", 0, nil)
				batch.DelTable(inet, "t")
				batch.AddTable(inet, "t", 0, nil)
				batch.AddSet(inet, "t", addressMap("x", 0, uint32(n)+16))
				batch.AddElements(inet, "t", "x", el)
				commit(b, c, &batch)
			}
			perCPU(b, cpu(b)-start)
		})
	}
}

// BenchmarkReadBack reads the elements of one hash map. The kernel walks the map
// from its beginning for each datagram of 32 KiB, so that the time is quadratic.
func BenchmarkReadBack(b *testing.B) {
	for _, n := range []int{estate, 64 << 10, 128 << 10, 256 << 10, 512 << 10} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			freshNS(b)
			c := open(b)
			load(b, c, n)
			b.ReportAllocs()
			start := cpu(b)
			for b.Loop() {
				read(b, c)
			}
			perCPU(b, cpu(b)-start)
		})
	}
}

// BenchmarkAtEstate measures what is done often, with the estate's map loaded.
func BenchmarkAtEstate(b *testing.B) {
	freshNS(b)
	c := open(b)
	ctx := context.Background()
	el := load(b, c, estate)
	b.Run("generation", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := c.Generation(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one change", func(b *testing.B) {
		b.ReportAllocs()
		for i := 0; b.Loop(); i++ {
			var batch Batch
			batch.DelElements(inet, "t", "x", el[i%1000:i%1000+1])
			batch.AddElements(inet, "t", "x", el[i%1000:i%1000+1])
			commit(b, c, &batch)
		}
	})
	b.Run("look for drift", func(b *testing.B) {
		at, err := c.Generation(ctx)
		if err != nil {
			b.Fatal(err)
		}
		for b.Loop() {
			if same, _, err := c.Unchanged(ctx, at); err != nil || !same {
				b.Fatal(same, err)
			}
		}
	})
	b.Run("counts", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Counts(ctx, inet, "t"); err != nil {
				b.Fatal(err)
			}
		}
	})
	absent := make([]ruleset.Element, estate)
	for i := range absent {
		absent[i].Key = be(0xc0000000 + uint32(i))
	}
	for _, keys := range []struct {
		name string
		el   []ruleset.Element
	}{{"1 present", el[:1]}, {"1000 present", el[:1000]}, {"1000 absent", absent[:1000]}, {"all present", el}, {"all absent", absent}} {
		b.Run("by key "+keys.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := c.ElementsByKey(ctx, inet, "t", "x", keys.el); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*len(keys.el)), "ns/key")
		})
	}
	b.Run("read rules only", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Read(ctx, func(*ruleset.Table) bool { return false }); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// quantiles reports the median and the 99th percentile of single calls, in
// microseconds.
func quantiles(b *testing.B, took []time.Duration) {
	slices.Sort(took)
	if len(took) > 0 {
		b.ReportMetric(float64(took[len(took)/2].Nanoseconds())/1e3, "p50-µs")
		b.ReportMetric(float64(took[len(took)*99/100].Nanoseconds())/1e3, "p99-µs")
		b.ReportMetric(float64(took[len(took)-1].Nanoseconds())/1e3, "max-µs")
	}
}

// BenchmarkSmallChange measures one small batch from the call to the kernel's
// answer, on a socket that is kept open, with the estate's map loaded. A wait for
// a grace period of RCU would show as milliseconds.
func BenchmarkSmallChange(b *testing.B) {
	freshNS(b)
	c := open(b)
	ctx := context.Background()
	el := load(b, c, estate)
	var tables Batch
	tables.AddSet(inet, "t", addressMap("small", 0, 1<<20))
	tables.AddSet(inet, "t", addressMap("noroom", 0, 1))
	commit(b, c, &tables)
	at, err := c.Generation(ctx)
	if err != nil {
		b.Fatal(err)
	}
	for _, n := range []int{1, 20} {
		for _, kind := range []string{"add", "delete", "replace", "refused", "stale"} {
			b.Run(fmt.Sprint(kind, " ", n), func(b *testing.B) {
				var took []time.Duration
				var batch Batch
				some := make([]ruleset.Element, n)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					copy(some, el[i*n%(estate-n):])
					batch.Reset()
					bound := at
					switch kind {
					case "add", "delete": // and the opposite, not measured
						batch.AddElements(inet, "t", "small", some)
					case "replace":
						batch.DelElements(inet, "t", "x", some)
						batch.AddElements(inet, "t", "x", some)
					case "refused":
						batch.AddElements(inet, "t", "noroom", el[:2])
					case "stale":
						batch.AddElements(inet, "t", "small", some)
						bound--
					}
					measure := func() {
						start := time.Now()
						after, err := c.CommitAt(ctx, &batch, bound)
						took = append(took, time.Since(start))
						if (err == nil) != (kind != "refused" && kind != "stale") {
							b.Fatal(err)
						}
						if err == nil {
							at, bound = after, after
						}
					}
					measure()
					if kind == "add" || kind == "delete" {
						if kind == "delete" {
							took = took[:len(took)-1]
						}
						batch.Reset()
						batch.DelElements(inet, "t", "small", some)
						measure()
						if kind == "add" {
							took = took[:len(took)-1]
						}
					}
				}
				quantiles(b, took)
			})
		}
	}
}
