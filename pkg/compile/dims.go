package compile

import (
	"fmt"
	"slices"
	"sort"
)

// splitLimits are how many values of a dimension a group may split before it
// starts a dimension of its own, from the best for the number of pairs (only
// groups that nest or are disjoint share a dimension) to the best for the width
// of a word.
var splitLimits = []int{1, 4, 16, 64}

// cluster is a dimension in the making.
type cluster struct {
	features []int
	of       []int32 // class -> value; 0 is "has none of the features"
	size     []int   // value -> classes

	hits    []int   // value -> classes that are counted at the moment
	touched []int32 // the values with hits
}

// dimensions clusters the features and gives every class its values.
func (s *spacer) dimensions() error {
	var order []int
	s.dimOf = make([]int, len(s.count))
	for f, n := range s.count {
		s.dimOf[f] = -1
		// What every class has tells none apart.
		if n > 0 && n < len(s.l.Classes) {
			order = append(order, f)
		}
	}
	sort.SliceStable(order, func(i, j int) bool { return s.count[order[i]] > s.count[order[j]] })
	members := make([][]int32, len(s.count))
	for f, n := range s.count {
		members[f] = make([]int32, 0, n)
	}
	for c, has := range s.has {
		has.Each(func(f int) { members[f] = append(members[f], int32(c)) })
	}
	var clusters []*cluster
	for _, limit := range splitLimits {
		clusters = s.cluster(order, members, limit)
		s.l.Dims = nil
		bits := 0
		for _, c := range clusters {
			d := Dim{Values: len(c.size)}
			for _, f := range c.features {
				if f < len(s.m.Groups) {
					d.Groups = append(d.Groups, f)
				}
			}
			slices.Sort(d.Groups)
			s.l.Dims = append(s.l.Dims, d)
			bits += d.Bits()
		}
		if bits <= s.b.Bits {
			break
		}
		if limit == splitLimits[len(splitLimits)-1] {
			return s.tooWide(bits)
		}
	}
	all := make([]int32, len(s.l.Classes)*len(clusters))
	for i := range s.l.Classes {
		values := all[:len(clusters):len(clusters)]
		all = all[len(clusters):]
		for d, c := range clusters {
			values[d] = c.of[i]
		}
		s.l.Classes[i].Values = values
	}
	s.learn(clusters)
	return nil
}

// learn notes what every value says.
func (s *spacer) learn(clusters []*cluster) {
	s.values, s.facts, s.common = nil, nil, nil
	for d, c := range clusters {
		s.values = append(s.values, c.of)
		facts := make([][]int32, len(c.size))
		known := make([]bool, len(c.size))
		for class, v := range c.of {
			if known[v] {
				continue
			}
			known[v] = true
			s.has[class].Each(func(f int) {
				if s.dimOf[f] == d {
					facts[v] = append(facts[v], int32(f))
				}
			})
		}
		s.facts = append(s.facts, facts)
	}
	for f, n := range s.count {
		if n > 0 && s.dimOf[f] < 0 {
			s.common = append(s.common, int32(f))
		}
	}
}

// cluster puts each feature, the most common ones first, where it splits the
// fewest values.
func (s *spacer) cluster(order []int, members [][]int32, limit int) []*cluster {
	var clusters []*cluster
	for _, f := range order {
		best, least := -1, limit+1
		for i, c := range clusters {
			if n := c.splits(members[f], least); n < least {
				best, least = i, n
			}
		}
		if best < 0 {
			best = len(clusters)
			clusters = append(clusters, &cluster{of: make([]int32, len(s.l.Classes)), size: []int{len(s.l.Classes)}})
		}
		clusters[best].add(f, members[f])
		s.dimOf[f] = best
	}
	return clusters
}

// Bits is the width of the dimension's field in a word: an eighth of it stays
// free for values that come later.
func (d *Dim) Bits() int { return width(d.Values + d.Values/8) }

// splits counts the values of which some classes would have the feature and some
// not, up to a limit.
func (c *cluster) splits(members []int32, limit int) int {
	n := 0
	for _, value := range c.inside(members) {
		if value != 0 && c.hits[value] < c.size[value] {
			if n++; n >= limit {
				break
			}
		}
	}
	c.forget()
	return n
}

// inside counts, in hits, the members that have each value, and lists the values
// that some have.
func (c *cluster) inside(members []int32) []int32 {
	for len(c.hits) < len(c.size) {
		c.hits = append(c.hits, 0)
	}
	for _, class := range members {
		value := c.of[class]
		if c.hits[value]++; c.hits[value] == 1 {
			c.touched = append(c.touched, value)
		}
	}
	return c.touched
}

func (c *cluster) forget() {
	for _, value := range c.touched {
		c.hits[value] = 0
	}
	c.touched = c.touched[:0]
}

// add makes values of the classes that have the feature and of those that have
// not.
func (c *cluster) add(feature int, members []int32) {
	c.features = append(c.features, feature)
	c.inside(members)
	old := len(c.size)
	moved := make([]int32, old) // value -> the one that its members have now; 0 is none
	for _, class := range members {
		value := c.of[class]
		if value != 0 && c.hits[value] == c.size[value] {
			continue // all of it
		}
		to := moved[value]
		if to == 0 {
			to = int32(len(c.size))
			c.size = append(c.size, 0)
			moved[value] = to
		}
		c.of[class] = to
		c.size[to]++
	}
	for value, to := range moved {
		if to != 0 {
			c.size[value] -= c.hits[value]
		}
	}
	c.forget()
}

func (s *spacer) tooWide(bits int) error {
	wide := 0
	for d := range s.l.Dims {
		if s.l.Dims[d].Values > s.l.Dims[wide].Values {
			wide = d
		}
	}
	return &Refusal{
		Reason: fmt.Sprintf("the groups overlap in so many independent ways that a class needs %d bits, and %d are there", bits, s.b.Bits),
		Advice: fmt.Sprintf("the widest dimension has %d values and holds the groups %s: let fewer of them overlap, or take groups that no policy needs out of policies", s.l.Dims[wide].Values, s.l.DimNames(wide)),
	}
}

// dimsOf gives the dimensions that a unit needs on one side.
func (s *spacer) dimsOf(group int, u Unit) []int {
	var out []int
	if d := s.dimOf[group]; d >= 0 {
		out = append(out, d)
	}
	p := &s.m.Policies[u.Policy]
	for _, names := range [][]string{p.Same, p.Differ} {
		for _, name := range names {
			label := s.m.b.labels.place[name]
			for v, of := range s.m.b.labels.of {
				if f := s.labelFeature(v); of == label && s.dimOf[f] >= 0 {
					out = append(out, s.dimOf[f])
				}
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
