package render

import (
	"fmt"
	"sort"
	"strings"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/policy"
)

// Table writes the table that enforces what is desired, with the ids that have
// (nil for none) uses already. It returns nil where nothing is desired: then the
// table is to go.
//
// A site that fits no layout within the bounds is refused with driver.ErrRefused.
func Table(want driver.Desired, have *ruleset.Table, bounds compile.Bounds) (*ruleset.Table, error) {
	t, _, err := TableWords(want, have, bounds)
	return t, err
}

// TableWords is Table, and tells how the table writes what it knows of an address.
func TableWords(want driver.Desired, have *ruleset.Table, bounds compile.Bounds) (*ruleset.Table, *Words, error) {
	if len(want.Points) == 0 {
		return nil, nil, nil
	}
	layout, err := want.View.Layout(bounds)
	if err != nil {
		return nil, nil, fmt.Errorf("%w: %w", driver.ErrRefused, err)
	}
	t := &ruleset.Table{Family: ruleset.FamilyInet, Name: TableName(want.Site)}
	ids := recoverIDs(have)
	v := newVerdicts(want.View.Matrix, ids, want.Now)
	matrix := newMatrixSets(layout, ids, v, shardOfBounds(bounds))
	t.Sets = append(t.Sets, matrix.sets...)
	t.Sets = append(t.Sets, v.sets()...)
	t.Sets = append(t.Sets, sharedSets(want.Points)...)
	t.Sets = append(t.Sets, hashSet(setKeep, kindMarkMap, 0, matrix.shape()))

	report := v.reported()
	chains := append(append(judgeChains(matrix), passChains(report)...), noteChains()...)
	chains = append(chains, failsafeChains(newFailsafe(want.Points[0].Failsafe))...)
	for i := range want.Points {
		p := &want.Points[i]
		parts := renderPoint(p, learningOf(p, want, have), report)
		t.Sets = append(t.Sets, parts.sets...)
		chains = append(chains, parts.chains...)
	}
	cut, _ := want.View.Matrix.GroupAddrs(policy.GroupQuarantined)
	sets, isolation, err := Quarantine(want.Points, cut)
	if err != nil {
		return nil, nil, fmt.Errorf("cannot render the quarantine: %w", err)
	}
	t.Sets, t.Chains = append(t.Sets, sets...), append(t.Chains, isolation...)
	for _, c := range chains {
		if c.err != nil {
			return nil, nil, fmt.Errorf("cannot render chain %q: %w", c.Name, c.err)
		}
		t.Chains = append(t.Chains, c.Chain)
	}
	for i := range t.Sets {
		sortElements(t.Sets[i].Elements)
	}
	if err := tooLarge(t); err != nil {
		return nil, nil, err
	}
	sort.SliceStable(t.Sets, func(i, j int) bool { return t.Sets[i].Name < t.Sets[j].Name })
	sort.SliceStable(t.Chains, func(i, j int) bool { return t.Chains[i].Name < t.Chains[j].Name })
	return t, matrix.newWords(), nil
}

// learningOf says how a point takes up its work: a point whose chains are there
// has nothing to learn, one that never enforced observes first, and one that did
// and lost its rules finds its live flows again.
func learningOf(p *compile.Point, want driver.Desired, have *ruleset.Table) learning {
	switch {
	case have != nil && have.Chain(pointChain("slow", p.Name)) != nil:
		return learnNothing
	case want.Enforced[p.Name]:
		return learnPickup
	}
	return learnObserve
}

// Retaken gives the windows of a point that has enforced before, as they open when its
// rules are put back on a table.
func Retaken(p *compile.Point, have *ruleset.Table) []ruleset.Set {
	return pointHolds(p, learningOf(p, driver.Desired{Enforced: map[string]bool{p.Name: true}}, have))
}

func sharedSets(points []compile.Point) []ruleset.Set {
	fs := newFailsafe(points[0].Failsafe)
	proto := func(list ...byte) []ruleset.Element {
		var out []ruleset.Element
		for _, p := range list {
			out = append(out, ruleset.Element{Key: []byte{p}})
		}
		return out
	}
	sets := []ruleset.Set{
		hashSet(setPorted, kindProtocols, 0, proto(unix.IPPROTO_TCP, unix.IPPROTO_UDP, unix.IPPROTO_DCCP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE)),
		hashSet(setFlat, kindProtocols, 0, proto(unix.IPPROTO_DCCP, unix.IPPROTO_SCTP, unix.IPPROTO_UDPLITE)),
		switchSet(setHold), switchSet(setHoldAll), movedSet(setMoved4, kindAddr4), movedSet(setMoved6, kindAddr6),
		dropSet(setDrop4, kindDrop4), dropSet(setDrop6, kindDrop6), dropSet(setDropX4, kindDropX4), dropSet(setDropX6, kindDropX6),
	}
	if servers := points[0].DHCPServers; !servers.IsEmpty() {
		sets = append(sets,
			intervalSet(setDHCP4, kindAddr4, intervalElements(runsOf(servers, true), nil)),
			intervalSet(setDHCP6, kindAddr6, intervalElements(runsOf(servers, false), nil)))
	}
	return append(sets, fs.sets()...)
}

// Usage counts what a table takes of the device.
func Usage(t *ruleset.Table) []driver.Usage {
	count := map[string]int{}
	total, pairs, hosts := 0, 0, 0
	for i := range t.Sets {
		n := len(t.Sets[i].Elements)
		count[t.Sets[i].Name] = n
		total += n
		if strings.HasPrefix(t.Sets[i].Name, setPair) {
			pairs += n
		}
		if HostSet(t.Sets[i].Name) {
			hosts += n
		}
	}
	rules := 0
	for i := range t.Chains {
		rules += len(t.Chains[i].Rules)
	}
	return []driver.Usage{
		{Resource: "elements", Used: total},
		{Resource: "addresses", Used: hosts},
		{Resource: "pairs", Used: pairs},
		{Resource: "services", Used: count[setSvc] + count[setSvcRange] + count[setProto]},
		{Resource: "verdicts", Used: count[setPermit] + count[setPermitTimed] + count[setDeny]},
		{Resource: "rules", Used: rules},
	}
}
