package packet

import (
	"fmt"
	"testing"
)

func BenchmarkPartition(b *testing.B) {
	for _, n := range []int{100_000, 1_000_000} {
		sets, hosts, lists := estate(n)
		runs := 0
		for _, s := range sets {
			runs += len(s.runs)
		}
		b.Run(fmt.Sprintf("sets/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			cells := 0
			for b.Loop() {
				cells = len(Partition(sets))
			}
			b.ReportMetric(float64(cells), "cells")
			b.ReportMetric(float64(runs), "runs")
		})
		b.Run(fmt.Sprintf("partitioner/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				p := NewPartitioner(len(sets))
				known := map[[6]int]int{}
				for i, h := range hosts {
					var key [6]int
					copy(key[:], lists[i])
					list, ok := known[key]
					if !ok {
						list = p.List(lists[i]...)
						known[key] = list
					}
					p.AddPrefix(h, list)
				}
				p.Cells()
			}
		})
		b.Run(fmt.Sprintf("union/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				UnionOf(sets...)
			}
		})
		b.Run(fmt.Sprintf("builder/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			var build Builder
			for b.Loop() {
				for i := range hosts {
					build.AddPrefix(hosts[(i*7919)%len(hosts)])
				}
				build.Addrs()
			}
		})
		b.Run(fmt.Sprintf("join/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			cells := PartitionAddrs(sets)
			other := PartitionAddrs(sets[50:54])
			for b.Loop() {
				Join(cells, other)
			}
		})
	}
}
