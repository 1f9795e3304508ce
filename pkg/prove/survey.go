package prove

import (
	"encoding/binary"
	"errors"
	"maps"
	"reflect"
	"slices"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// A device that is right need not ask its tables one after the other as the policy
// side has them: it may leave one out for some addresses, because all that follows
// comes to the same for those. Then no table can be held against another, but flows
// still can. A survey finds out which flows there are: not pair by pair, but by what
// all tables of the device and of the policy side say of a pair, all at once. Pairs of
// which they say the same fare alike, and are looked at once. The combinations that
// occur are hundreds of thousands where the pairs are hundreds of millions.

// survey is what the tables of a device and of the policy side say of the pairs of one
// family. It is shared by all situations: the outcomes of a device's tables, and what
// follows from them, are no part of it.
type survey struct {
	w       *walker // of the situation that it is asked for
	four    bool
	lookups []lookup
	of      map[*driver.Table]int // -> lookups
	ends    [2]profiles           // of sources, of destinations
	steps   []step
	// lone is set if something was otherwise than it must of an address to itself alone,
	// which no packet goes. In a part of a matrix the address stands for others, and it is
	// an error.
	lone bool
	combos
}

// lookup stands for the tables of a device that find the same for every pair, whatever
// follows from it: one of all that share what they hold, for a device may have the same
// tables in many situations.
type lookup []*driver.Table

// profiles are the addresses at one end, those together that no table tells apart.
type profiles struct {
	joints []packet.Joint
	list   []profile
	index  map[string]int32
	// values is how many different things there are at each place of a profile.
	values []int
}

// profile is some addresses that fare alike.
type profile struct {
	// seen begins with the isolation of the end, 0 or 1; then follow what each table of
	// policy must know of the addresses, and what each lookup sees of them.
	seen   []int32
	joints []int32 // all of them
}

var (
	errPartitions = errors.New("its tables see addresses by more than one partition")
	errAlone      = errors.New("its tables do not say what the policies do of flows within one kind of addresses")
	errTooMuch    = errors.New("its tables cannot be held against those of policy one by one, and there are too many pairs to look at each")
)

// newSurvey prepares a survey by some tables, of flows between two sets of addresses;
// empty ones stand for all addresses of the family.
func (w *walker) newSurvey(tables []*driver.Table, within [2]packet.Addrs) (*survey, error) {
	s := &survey{w: w, four: w.four, of: map[*driver.Table]int{}}
	for _, t := range tables {
		if len(s.lookups) > 0 && (!sameParts(t.Src, s.lookups[0][0].Src) || !sameParts(t.Dst, s.lookups[0][0].Dst)) {
			return nil, errPartitions
		}
		if !s.has(t) {
			s.of[t] = len(s.lookups)
			s.lookups = append(s.lookups, lookup{t})
		}
	}
	for side := range s.ends {
		s.profile(side == 1, within[side])
	}
	s.err = s.prepare()
	return s, nil
}

// surveyOf gives a survey of all addresses by some tables, one that was made before if
// it will do.
func (w *walker) surveyOf(tables []*driver.Table) (*survey, error) {
next:
	for _, s := range w.cache.surveys {
		if s.four != w.four {
			continue
		}
		for _, t := range tables {
			if !s.has(t) {
				continue next
			}
		}
		return s, nil
	}
	s, err := w.newSurvey(tables, [2]packet.Addrs{})
	if err == nil {
		w.cache.surveys = append(w.cache.surveys, s)
	}
	return s, err
}

// behind lists the tables that some services of cases come to.
func behind(cases []driver.Case, svc packet.Services) []*driver.Table {
	var out []*driver.Table
	done := map[*driver.Table]packet.Services{}
	var walk func(cases []driver.Case, svc packet.Services)
	walk = func(cases []driver.Case, svc packet.Services) {
		for _, c := range cases {
			if c.Next == nil {
				continue
			}
			known, met := done[c.Next]
			both := c.Services.Intersect(svc).Subtract(known)
			if len(both) == 0 {
				continue
			}
			if !met {
				out = append(out, c.Next)
			}
			done[c.Next] = known.Union(both)
			for _, o := range c.Next.Outcomes {
				walk(o, both)
			}
		}
	}
	walk(cases, svc)
	return out
}

// has reports whether a table finds what one of the lookups finds.
func (s *survey) has(t *driver.Table) bool {
	if _, ok := s.of[t]; ok {
		return true
	}
	for i, l := range s.lookups {
		for _, o := range l {
			if o.Src == t.Src && o.Dst == t.Dst && &o.Row[0] == &t.Row[0] && &o.Col[0] == &t.Col[0] && sameEntries(o, t) {
				s.of[t] = i
				return true
			}
		}
	}
	for i, l := range s.lookups {
		if o := l[0]; slices.Equal(o.Row, t.Row) && slices.Equal(o.Col, t.Col) && sameEntries(o, t) && sameParts(o.Src, t.Src) && sameParts(o.Dst, t.Dst) {
			s.of[t], s.lookups[i] = i, append(l, t)
			return true
		}
	}
	return false
}

func sameEntries(a, b *driver.Table) bool {
	return reflect.ValueOf(a.Entries).Pointer() == reflect.ValueOf(b.Entries).Pointer() || maps.Equal(a.Entries, b.Entries)
}

// sameParts reports whether two partitions number the same sets alike.
func sameParts(a, b *driver.Parts) bool {
	return a == b || slices.EqualFunc(a.Addrs, b.Addrs, packet.Addrs.Equal)
}

// profile sorts the addresses of an end.
func (s *survey) profile(dst bool, within packet.Addrs) {
	end := &s.ends[sideOfEnd(dst)]
	end.index = map[string]int32{}
	end.values = make([]int, 1+len(s.w.s.list)+len(s.lookups))
	known := make([]map[int32]bool, len(end.values))
	for i := range known {
		known[i] = map[int32]bool{}
	}
	for _, j := range s.joints(dst) {
		if !s.w.s.m.Asked(j.A, dst) {
			continue // the matrix says nothing of these at this end
		}
		if !within.IsEmpty() {
			if j.Addrs = j.Addrs.Intersect(within); j.Addrs.IsEmpty() {
				continue
			}
		}
		seen := s.see(dst, j)
		key := profileKey(seen)
		n, ok := end.index[key]
		if !ok {
			n = int32(len(end.list))
			end.index[key] = n
			end.list = append(end.list, profile{seen: seen})
			for i, v := range seen {
				known[i][v] = true
			}
		}
		end.list[n].joints = append(end.list[n].joints, int32(len(end.joints)))
		end.joints = append(end.joints, j)
	}
	for i := range known {
		end.values[i] = len(known[i])
	}
}

func sideOfEnd(dst bool) int {
	if dst {
		return 1
	}
	return 0
}

// joints meets the classes of policy with what the device tells apart.
func (s *survey) joints(dst bool) []packet.Joint {
	if len(s.lookups) > 0 {
		p := s.lookups[0][0].Src
		if dst {
			p = s.lookups[0][0].Dst
		}
		return s.w.join(p)
	}
	var out []packet.Joint
	for c := range s.w.s.m.Classes {
		if in := s.w.s.m.Classes[c].Addrs.OfFamily(s.four); !in.IsEmpty() {
			out = append(out, packet.Joint{A: c, Addrs: in})
		}
	}
	return out
}

// see is all that the tables go by of some addresses.
func (s *survey) see(dst bool, j packet.Joint) []int32 {
	seen := make([]int32, 0, 1+len(s.w.s.list)+len(s.lookups))
	egress, ingress := s.w.s.m.Isolation(j.A)
	seen = append(seen, isolated(egress, ingress, dst))
	for k := range s.w.s.list {
		seen = append(seen, s.w.wants(&s.w.s.list[k], j.A, dst))
	}
	for i := range s.lookups {
		t := s.lookups[i][0]
		if dst {
			seen = append(seen, t.Col[j.B])
		} else {
			seen = append(seen, t.Row[j.B])
		}
	}
	return seen
}

func isolated(egress, ingress, dst bool) int32 {
	if dst && ingress || !dst && egress {
		return 1
	}
	return 0
}

// profileKey is equal for addresses of one profile.
func profileKey(seen []int32) string {
	key := make([]byte, 0, 4*len(seen))
	for _, v := range seen {
		key = binary.LittleEndian.AppendUint32(key, uint32(v))
	}
	return string(key)
}

// addrs gives addresses of two profiles between which a packet can go; ok is not set if
// there is but one address, at both ends.
func (s *survey) addrs(src, dst int32) (from, to packet.Addrs, ok bool) {
	some := func(end *profiles, n int32) []packet.Addrs {
		var out []packet.Addrs
		for _, j := range end.list[n].joints[:min(2, len(end.list[n].joints))] {
			out = append(out, end.joints[j].Addrs)
		}
		return out
	}
	for _, from := range some(&s.ends[0], src) {
		for _, to := range some(&s.ends[1], dst) {
			if _, _, ok := pick(from, to); ok {
				return from, to, true
			}
		}
	}
	return from, to, false
}

// sources lists the profiles of sources in the order in which the least has to be done
// again from one to the next.
func (s *survey) sources() []int32 {
	order := make([]int32, len(s.ends[0].list))
	for i := range order {
		order[i] = int32(i)
	}
	slices.SortFunc(order, func(a, b int32) int {
		x, y := s.ends[0].list[a].seen, s.ends[0].list[b].seen
		for i := range s.steps {
			if d := int(x[s.steps[i].at]) - int(y[s.steps[i].at]); d != 0 {
				return d
			}
		}
		return int(a - b)
	})
	return order
}
