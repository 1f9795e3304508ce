package kernel

import (
	"context"
	"fmt"
	"math/rand"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
)

// BenchmarkEncode measures the element encoder alone.
func BenchmarkEncode(b *testing.B) {
	el := addresses(100_000)
	rand.Shuffle(len(el), func(i, j int) { el[i], el[j] = el[j], el[i] })
	b.ReportAllocs()
	for b.Loop() {
		var batch Batch
		batch.AddElements(inet, "t", "x", el)
	}
}

// BenchmarkReplace encodes and commits a table with one map in place of the last.
func BenchmarkReplace(b *testing.B) {
	for _, n := range []int{10_000, 100_000, 1_000_000} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			freshNS(b)
			c := open(b)
			el := addresses(n)
			for b.Loop() {
				var batch Batch
				batch.AddTable(inet, "t", 0, nil)
				batch.DelTable(inet, "t")
				batch.AddTable(inet, "t", 0, nil)
				batch.AddSet(inet, "t", addressMap("x", 0, uint32(n)+16))
				batch.AddElements(inet, "t", "x", el)
				commit(b, c, &batch)
			}
		})
	}
}

// BenchmarkAt measures what is done often, on a map of 100,000.
func BenchmarkAt100000(b *testing.B) {
	freshNS(b)
	c := open(b)
	ctx := context.Background()
	el := load(b, c, 100_000)
	b.Run("generation", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Generation(ctx); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("one change", func(b *testing.B) {
		for i := 0; b.Loop(); i++ {
			var batch Batch
			batch.DelElements(inet, "t", "x", el[i%1000:i%1000+1])
			batch.AddElements(inet, "t", "x", el[i%1000:i%1000+1])
			commit(b, c, &batch)
		}
	})
	b.Run("get 1000", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Get(ctx, inet, "t", "x", el[:1000]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("read", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			read(b, c)
		}
	})
	b.Run("read rules only", func(b *testing.B) {
		for b.Loop() {
			if _, err := c.Read(ctx, func(*ruleset.Table) bool { return false }); err != nil {
				b.Fatal(err)
			}
		}
	})
}
