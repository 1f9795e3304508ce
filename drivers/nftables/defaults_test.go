package nftables_test

import (
	"testing"

	"bulkhead/drivers/nftables"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/policy"
)

// Where every address is isolated on one side, and policy allows that side alone,
// flows meet the open default of the other side: its verdict is installed, too.
func TestDefaultOfOneSideIsInstalled(t *testing.T) {
	for _, direction := range []policy.Direction{policy.Egress, policy.Ingress} {
		w := permits(let("10.0.0.2", "10.0.1.3", 6, 80, 80))
		w.Book.Policies[0].Direction = direction
		w.Book.Groups[0].Isolate = map[policy.Direction]policy.Isolation{policy.Egress: policy.IsolateEgress, policy.Ingress: policy.IsolateIngress}[direction]
		d := nftables.New(nftables.Options{Site: "test", Interfaces: ifaces,
			Bounds: compile.Bounds{Pairs: -1, Spaces: 64, Elements: 1 << 20, Bits: 28}})
		want := desired(t, w, []compile.Point{gateway(policy.Enforce)})
		r, err := d.Render(want, nftables.Empty("test"))
		if err != nil {
			t.Fatal(err)
		}
		mustProve(t, d, want, r.State)
	}
}
