package compile

import (
	"fmt"
	"slices"

	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// node is a set of units that will share a space.
type node struct {
	rowDims, colDims []int
	list             []int32 // units, ascending
	before           []int   // nodes that must come earlier, among those still apart
	pairs            int
	related          bool // some unit compares labels
	id               int  // no two nodes of a search have the same one

	q       *quotient          // nil until it is asked for
	spreads map[[2]*keySet]int // finer keys -> the pairs that the node needs of them
}

// effect is what a policy does to a flow, as far as order matters.
type effect struct {
	action policy.Action
	log    bool
}

func (s *spacer) effect(u int) effect {
	p := &s.m.Policies[s.units[u].Policy]
	return effect{p.Action, p.Log}
}

// blocks groups the units: those of one block need the same dimensions, have the
// same effect, and the same number of changes of effect in front of them. So no
// two units of a block must keep an order, and the order between blocks has no
// cycle.
func (s *spacer) blocks() error {
	level, before, err := s.levels()
	if err != nil {
		return err
	}
	index := map[string]int{}
	of := make([]int, len(s.units))
	for u := range s.units {
		rd, cd := s.dimsOf(s.units[u].From, s.units[u]), s.dimsOf(s.units[u].To, s.units[u])
		key := fmt.Sprint(rd, cd, level[u], s.effect(u), s.m.Policies[s.units[u].Policy].Direction)
		n, ok := index[key]
		if !ok {
			n = len(s.order)
			index[key] = n
			s.order = append(s.order, node{rowDims: rd, colDims: cd})
		}
		s.order[n].list = append(s.order[n].list, int32(u))
		p := &s.m.Policies[s.units[u].Policy]
		s.order[n].related = s.order[n].related || len(p.Same)+len(p.Differ) > 0
		of[u] = n
	}
	seen := map[[2]int]bool{}
	for u, list := range before {
		for _, v := range list {
			if edge := [2]int{of[v], of[u]}; edge[0] != edge[1] && !seen[edge] {
				seen[edge] = true
				s.order[of[u]].before = append(s.order[of[u]].before, of[v])
			}
		}
	}
	if len(s.order) > maxBlocks {
		return s.interleaved(level, before)
	}
	return nil
}

// maxBlocks is up to how many blocks the search for a merge looks at.
const maxBlocks = 256

// levels says for every unit which others must be asked before it, and how many
// changes of effect lie in front of it. A unit must be asked before another one
// if it stands before it in the order of policies, both could match one flow, and
// they differ in effect on a side that both judge.
func (s *spacer) levels() (level []int, before [][]int, err error) {
	meetFrom, meetTo := s.meetings(func(u Unit) int { return u.From }), s.meetings(func(u Unit) int { return u.To })
	level, before = make([]int, len(s.units)), make([][]int, len(s.units))
	effects := make([]effect, len(s.units))
	byEffect := map[effect][]int{}
	var kinds []effect
	for u := range s.units {
		effects[u] = s.effect(u)
		pu := &s.m.Policies[s.units[u].Policy]
		for _, kind := range kinds {
			if kind == effects[u] {
				continue
			}
			for _, v := range byEffect[kind] {
				s.work++
				pv := &s.m.Policies[s.units[v].Policy]
				if !meetFrom[s.units[v].From].Has(s.units[u].From) || !meetTo[s.units[v].To].Has(s.units[u].To) ||
					!shareSide(pv.Direction, pu.Direction) ||
					!meets(s.m.b.walker.ranges[s.units[v].Policy], s.m.b.walker.ranges[s.units[u].Policy]) {
					continue
				}
				before[u] = append(before[u], v)
				level[u] = max(level[u], level[v]+1)
			}
			if s.work > maxWork/16 {
				return nil, nil, &Refusal{Reason: fmt.Sprintf("the order of %d pairs of groups in policies takes too long to work out", len(s.units)),
					Advice: "let policies name single groups that stand for others (`groups: [...]`) where they list many now"}
			}
		}
		if len(byEffect[effects[u]]) == 0 {
			kinds = append(kinds, effects[u])
		}
		byEffect[effects[u]] = append(byEffect[effects[u]], u)
	}
	return level, before, nil
}

func shareSide(a, b policy.Direction) bool { return a == policy.Both || b == policy.Both || a == b }

// meetings says which groups have an address in common, group by group.
func (s *spacer) meetings(end func(Unit) int) map[int]packet.Bits {
	used := packet.NewBits(len(s.count))
	for _, u := range s.units {
		used.Set(end(u))
	}
	out := map[int]packet.Bits{}
	used.Each(func(f int) { out[f] = packet.NewBits(len(s.count)) })
	for _, has := range s.has {
		has.Each(func(f int) {
			if b, ok := out[f]; ok {
				for w := range b {
					b[w] |= has[w]
				}
			}
		})
	}
	return out
}

// interleaved refuses a site whose denies and allows take turns too often.
func (s *spacer) interleaved(level []int, before [][]int) error {
	deepest := 0
	for u := range level {
		if level[u] > level[deepest] {
			deepest = u
		}
	}
	var chain []int
	for u := deepest; ; {
		chain = append(chain, u)
		next := -1
		for _, v := range before[u] {
			if level[v] == level[u]-1 {
				next = v
				break
			}
		}
		if next < 0 {
			break
		}
		u = next
	}
	slices.Reverse(chain)
	var names []string
	for i, u := range chain {
		if i == 6 {
			names = append(names, fmt.Sprintf("and %d more", len(chain)-i))
			break
		}
		p := &s.m.Policies[s.units[u].Policy]
		names = append(names, fmt.Sprintf("%s %q", p.Action, p.Name))
	}
	return &Refusal{
		Reason: fmt.Sprintf("allows and denies that concern the same flows take turns %d times, and a new packet would have to be looked up in more than %d tables: %s", len(chain), s.b.Spaces, joinWords(names)),
		Advice: "move these denies to tier platform, or in front of the allows that they meet",
	}
}

// meets reports whether two sets of services have one in common.
func meets(a, b packet.Services) bool {
	for i, j := 0, 0; i < len(a) && j < len(b); {
		switch {
		case a[i].Hi < b[j].Lo:
			i++
		case b[j].Hi < a[i].Lo:
			j++
		default:
			return true
		}
	}
	return false
}
