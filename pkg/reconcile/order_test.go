package reconcile_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"runtime"
	"strings"
	"testing"

	"bulkhead/pkg/plan"
)

// orderSite writes a site of so many assets whose maps and lists are in an order drawn from seed.
func orderSite(seed uint64, size int) map[string]string {
	r := rand.New(rand.NewPCG(seed, 1))
	var assets, groups, policies []string
	for i := range size {
		assets = append(assets, fmt.Sprintf("  a%d: {kind: vm, addresses: [10.0.%d.%d, \"2001:db8:%d::%d\"], labels: {role: r%d, cell: c%d}}\n", i, 1+i%2, 10+i, 1+i%2, 10+i, i%4, i%3))
	}
	for i := range 4 {
		groups = append(groups, fmt.Sprintf("  g%d: {where: 'labels.role == \"r%d\"', isolate: %s}\n", i, i, []string{"both", "none", "ingress", "egress"}[i]))
		policies = append(policies, fmt.Sprintf("  - {name: p%d, from: g%d, to: [g%d, any], services: [tcp/%d, udp/53], action: allow, same: [cell]}\n", i, i, (i+1)%4, 8000+i),
			fmt.Sprintf("  - {name: d%d, from: any, to: g%d, services: [tcp/8001-8002], action: deny, tier: platform, order: %d}\n", i, i, i%2))
	}
	for _, list := range [][]string{assets, groups, policies} {
		r.Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	}
	return map[string]string{"bulkhead.yaml": siteText,
		"policy.yaml": "assets:\n" + strings.Join(assets, "") + "groups:\n" + strings.Join(groups, "") + "policies:\n" + strings.Join(policies, "")}
}

// What is written to a device does not depend on the order of a site's files, nor
// on how many processors there are.
func TestSameBytesInAnyOrder(t *testing.T) {
	var want string
	for seed := range uint64(4) {
		for _, procs := range []int{1, 8} {
			old := runtime.GOMAXPROCS(procs)
			b := newBench(t, orderSite(seed, 12))
			got, err := b.site.RenderText(b.devices[0])
			runtime.GOMAXPROCS(old)
			if err != nil {
				t.Fatal(err)
			}
			if want == "" {
				want = got
			}
			if got != want {
				t.Fatalf("seed %d with %d processors: another ruleset", seed, procs)
			}
		}
	}
	if !strings.Contains(want, "p3") {
		t.Errorf("the ruleset names no policy")
	}
}

// The same site gives the same plan, byte for byte, but for when it was made.
func TestSamePlanTwice(t *testing.T) {
	var want []byte
	for _, procs := range []int{1, 8} {
		old := runtime.GOMAXPROCS(procs)
		b := newBench(t, orderSite(3, 5))
		got, err := plan.JSON(b.plan(t).Plan)
		runtime.GOMAXPROCS(old)
		if err != nil {
			t.Fatal(err)
		}
		if want == nil {
			want = got
		}
		if !bytes.Equal(got, want) {
			t.Fatalf("with %d processors: another plan", procs)
		}
	}
}
