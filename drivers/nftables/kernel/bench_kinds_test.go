package kernel

import (
	"encoding/binary"
	"fmt"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
)

// kindsOfMaps are the maps that a rendered table has, each with n elements.
var kindsOfMaps = []struct {
	name string
	make func(n int) ruleset.Set
}{
	{"pairs", func(n int) ruleset.Set {
		s := ruleset.Set{Name: "x", Flags: ruleset.SetMap | ruleset.SetConcat, KeyType: 0x4d3, KeyLen: 8, Fields: []uint32{4, 4}, DataType: 19, DataLen: 4, Size: uint32(n) + 16}
		for i := range n {
			key := binary.NativeEndian.AppendUint32(nil, uint32(i)*2654435761)
			s.Elements = append(s.Elements, ruleset.Element{Key: binary.NativeEndian.AppendUint32(key, uint32(i)), Data: binary.NativeEndian.AppendUint32(nil, uint32(i))})
		}
		return s
	}},
	// A run of plain intervals is two elements: its first key, and the one after it.
	{"prefixes", func(n int) ruleset.Set {
		s := ruleset.Set{Name: "x", Flags: ruleset.SetMap | ruleset.SetInterval, KeyType: 7, KeyLen: 4, DataType: 19, DataLen: 4}
		for i := range n / 2 {
			s.Elements = append(s.Elements,
				ruleset.Element{Key: binary.BigEndian.AppendUint32(nil, uint32(i)*16), Data: binary.NativeEndian.AppendUint32(nil, uint32(i))},
				ruleset.Element{Key: binary.BigEndian.AppendUint32(nil, uint32(i)*16+16), Flags: ruleset.ElemIntervalEnd})
		}
		return s
	}},
	{"ranges", func(n int) ruleset.Set {
		s := ruleset.Set{Name: "x", Flags: ruleset.SetMap | ruleset.SetInterval | ruleset.SetConcat, KeyType: 0x1330d, KeyLen: 12, Fields: []uint32{4, 1, 2}, DataType: 19, DataLen: 4}
		for i := range n {
			key := append(binary.BigEndian.AppendUint32(nil, uint32(i)), 6, 0, 0, 0, 0, 80, 0, 0)
			end := append(binary.BigEndian.AppendUint32(nil, uint32(i)), 6, 0, 0, 0, 0, 90, 0, 0)
			s.Elements = append(s.Elements, ruleset.Element{Key: key, KeyEnd: end, Data: binary.NativeEndian.AppendUint32(nil, uint32(i))})
		}
		return s
	}},
}

// BenchmarkReadBackOfKinds reads and loads the maps of a table that are not of single
// addresses. All of them are listed in time that grows with the square of their size.
func BenchmarkReadBackOfKinds(b *testing.B) {
	for _, k := range kindsOfMaps {
		for _, n := range []int{32 << 10, 64 << 10, 128 << 10, 256 << 10, 512 << 10} {
			if k.name == "ranges" && n > 64<<10 {
				continue // they take a minute to load
			}
			b.Run(fmt.Sprintf("%s-%d", k.name, n), func(b *testing.B) {
				freshNS(b)
				c := open(b)
				s := k.make(n)
				start := cpu(b)
				var batch Batch
				batch.AddTable(inet, "t", 0, nil)
				batch.AddSet(inet, "t", &s)
				batch.AddElements(inet, "t", "x", s.Elements)
				commit(b, c, &batch)
				loaded := cpu(b) - start
				start = cpu(b)
				for b.Loop() {
					read(b, c)
				}
				perCPU(b, cpu(b)-start)
				b.ReportMetric(loaded.Seconds(), "load-cpu-s")
			})
		}
	}
}
