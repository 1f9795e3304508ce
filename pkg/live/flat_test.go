package live_test

import (
	"context"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/internal/tries"
	"bulkhead/inventory"
	"bulkhead/pkg/live"
)

var day = flag.Int("day", tries.Of(2500), "how many changes TestADayIsFlat makes before it looks for the first time; four times as many in all")

// held is what a live site holds.
type held struct {
	heap                     uint64 // bytes in use after the collector ran
	elements, files, threads int    // of the kernel's table, open, goroutines
}

func (s *site) held(ctx context.Context) held {
	s.t.Helper()
	var m runtime.MemStats
	for range 3 { // what finalizers let go is collected at the next turn
		runtime.GC()
	}
	runtime.ReadMemStats(&m)
	h := held{heap: m.HeapAlloc, threads: runtime.NumGoroutine()}
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		s.t.Fatal(err)
	}
	h.files = len(files)
	now, err := nftables.New(nftables.Options{Site: "live"}).Read(ctx)
	if err != nil {
		s.t.Fatal(err)
	}
	table := now.(*nftables.State).Table()
	for i := range table.Sets {
		h.elements += len(table.Sets[i].Elements)
	}
	return h
}

// population is a host for each combination of labels, which stays, and others, which
// move between those.
func population() (stay, move []inventory.Asset) {
	host := func(id string, n int, labels map[string]string) inventory.Asset {
		p := netip.AddrFrom4([4]byte{10, 0, byte(1 + n>>8), byte(n)})
		return inventory.Asset{ID: id, Kind: inventory.Server, Labels: labels, Addresses: []netip.Prefix{netip.PrefixFrom(p, 32)}}
	}
	for i := range 24 {
		stay = append(stay, host(fmt.Sprintf("s%03d", i), i+1, map[string]string{
			"role": fmt.Sprintf("r%d", i%4), "env": fmt.Sprintf("e%d", i/4%2), "cell": fmt.Sprintf("c%d", i/8)}))
	}
	for i := range 100 {
		move = append(move, host(fmt.Sprintf("x%03d", i), i+100, stay[i%len(stay)].Labels))
	}
	return stay, move
}

// A day of changes leaves nothing behind: hosts come to another class and back, leave
// and return, and take addresses that nobody ever had, one by one and thousands of
// times, and the controller and the kernel hold no more than before.
func TestADayIsFlat(t *testing.T) {
	for name, split := range map[string]bool{"one table": false, "class spaces": true} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			stay, move := population()
			s := openSite(t, 11, append(slices.Clone(stay), move...), split)
			whole, born, next := 0, 0, 0
			do := func(what string, st live.Step, err error) {
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				if st.Whole != "" {
					whole++
				}
				born += st.Born
			}
			prove := func() {
				if err := s.live.Settle(ctx); err != nil {
					t.Fatal(err)
				}
				if _, err := s.live.Prove(ctx); err != nil {
					t.Fatal(err)
				}
			}
			run := func(n int) held {
				for i := range n {
					a := move[s.r.IntN(len(move))]
					a.Labels = stay[s.r.IntN(len(stay))].Labels
					switch s.r.IntN(8) {
					case 0:
						next++
						p := netip.AddrFrom4([4]byte{10, byte(1 + next>>16), byte(next >> 8), byte(next)})
						a.Addresses = []netip.Prefix{netip.PrefixFrom(p, 32)}
					case 1, 2, 3:
						st, err := s.live.Remove(ctx, a.ID)
						do("remove "+a.ID, st, err)
					}
					st, err := s.live.Asset(ctx, a)
					do("change "+a.ID, st, err)
					if i%256 == 0 {
						prove()
					}
				}
				for _, a := range move { // the same state each time
					st, err := s.live.Asset(ctx, a)
					do("back "+a.ID, st, err)
				}
				prove()
				return s.held(ctx)
			}
			early := run(*day)
			late := run(3 * *day)
			t.Logf("%d changes whole, %d classes born; %+v, later %+v", whole, born, early, late)
			if whole > *day/20 {
				t.Error("too many changes were made whole: the test shows little")
			}
			// Something that is kept of every address, or of every host that left, is dozens of
			// bytes for each.
			if late.elements != early.elements || late.files > early.files || late.threads > early.threads || late.heap > early.heap+4<<10+uint64(6**day) {
				t.Errorf("after %d changes %+v are held, and after %d %+v", *day, early, 4**day, late)
			}
		})
	}
}
