package reconcile

import (
	"fmt"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/pkg/packet"
)

// What is found in one pass is what comparing every two values finds.
func TestHeldAsSeveral(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var held []holding
		byValue := map[string]packet.Addrs{}
		for range rapid.IntRange(0, 30).Draw(t, "assets") {
			a := netip.AddrFrom4([4]byte{10, 0, 0, rapid.Byte().Draw(t, "host")})
			if rapid.Bool().Draw(t, "six") {
				a = netip.AddrFrom16([16]byte{0xfd, 15: rapid.Byte().Draw(t, "host6")})
			}
			p := netip.PrefixFrom(a, a.BitLen()-rapid.IntRange(0, 8).Draw(t, "wide")).Masked()
			v := fmt.Sprint(rapid.IntRange(0, 3).Draw(t, "value"))
			held = append(held, holding{packet.PrefixRange(p), v})
			byValue[v] = byValue[v].Union(packet.AddrsOf(p))
		}
		var seen, want packet.Addrs
		for _, of := range byValue {
			want, seen = want.Union(seen.Intersect(of)), seen.Union(of)
		}
		if got := heldAsSeveral(held); !got.Equal(want) {
			t.Fatalf("%s, want %s", got, want)
		}
	})
}
