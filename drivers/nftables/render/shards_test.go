package render

import (
	"encoding/binary"
	"errors"
	"testing"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
)

func addressesFrom(first, n int) []ruleset.Element {
	out := make([]ruleset.Element, n)
	for i := range out {
		out[i] = ruleset.Element{Key: binary.BigEndian.AppendUint32(nil, uint32(first+i)), Data: native(0x11)}
	}
	return out
}

// spreadOver renders addresses with shards of four, given what is on the device,
// and gives how many each set has.
func spreadOver(have *ruleset.Table, elements []ruleset.Element) (*ruleset.Table, map[string]int) {
	s := &matrixSets{ids: &alloc{table: have}, limit: 4}
	s.addShards(setHost4, kindAddr4Word, elements)
	count := map[string]int{}
	for i := range s.sets {
		count[s.sets[i].Name] = len(s.sets[i].Elements)
	}
	return &ruleset.Table{Sets: s.sets}, count
}

// Shards open as a site grows, and close again with room to spare; holes are filled
// first.
func TestShardsOpenAndClose(t *testing.T) {
	same := func(got map[string]int, want ...int) {
		t.Helper()
		for i, n := range want {
			if got[shardName(setHost4, i)] != n {
				t.Fatalf("shards have %v elements, want %v", got, want)
			}
		}
		if len(got) != len(want) {
			t.Fatalf("shards have %v elements, want %v", got, want)
		}
	}
	table, n := spreadOver(nil, addressesFrom(0, 4))
	same(n, 4)
	table, n = spreadOver(table, addressesFrom(0, 9))
	same(n, 4, 4, 1)
	// Two leave the first shard, and one that is new takes the place of one of them.
	table, n = spreadOver(table, append(addressesFrom(2, 7), addressesFrom(100, 1)...))
	same(n, 3, 4, 1)
	// Seven would fit into two, but barely: nothing moves.
	table, n = spreadOver(table, addressesFrom(2, 7))
	same(n, 2, 4, 1)
	// Six leave a quarter of two free: the third one closes.
	table, n = spreadOver(table, addressesFrom(3, 6))
	same(n, 2, 4)
	table, n = spreadOver(table, addressesFrom(3, 3))
	same(n, 3)
	for i := range table.Sets {
		if table.Sets[i].Size < 4 {
			t.Errorf("set %s has room for %d", table.Sets[i].Name, table.Sets[i].Size)
		}
	}
}

// A map that the kernel would take seconds to list is refused; interval sets are
// another matter.
func TestTooLargeIsRefused(t *testing.T) {
	table := &ruleset.Table{Sets: []ruleset.Set{hashSet(setPair, kindPair, 0, make([]ruleset.Element, mostElements+1))}}
	if err := tooLarge(table); !errors.Is(err, driver.ErrRefused) {
		t.Errorf("tooLarge() = %v, want a refusal", err)
	}
	table.Sets[0].Flags |= ruleset.SetInterval
	if err := tooLarge(table); err != nil {
		t.Error(err)
	}
	table.Sets[0] = hashSet(setPair, kindPair, 0, make([]ruleset.Element, mostElements))
	if err := tooLarge(table); err != nil {
		t.Error(err)
	}
}
