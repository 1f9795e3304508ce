package render

import (
	"crypto/sha256"
	"fmt"
	"sort"
	"strings"
	"time"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/compile"
)

// verdictKey names an outcome on the device, in the comment of its element. It
// is what finds the same outcome again after a restart with no memory.
func verdictKey(m *compile.Matrix, i int) string {
	o := &m.Outcomes[i]
	var b strings.Builder
	side := func(p int) string {
		if p == compile.Default {
			return "-"
		}
		return m.Policies[p].Name
	}
	b.WriteString(verb(o.Permit))
	fmt.Fprintf(&b, " egress=%s ingress=%s", side(o.Egress), side(o.Ingress))
	if o.Log {
		b.WriteString(" log")
	}
	if o.Differs {
		fmt.Fprintf(&b, " observed=%s", side(o.Shadow))
	}
	if !o.Deadline.IsZero() {
		fmt.Fprintf(&b, " until=%s then=(%s)", o.Deadline.UTC().Format(time.RFC3339Nano), verdictKey(m, o.After))
	}
	s := b.String()
	if len(s) > 120 {
		sum := sha256.Sum256([]byte(s))
		s = fmt.Sprintf("%s #%x", s[:100], sum[:6])
	}
	return s
}

func verb(permit bool) string {
	if permit {
		return "permit"
	}
	return "deny"
}

func isPlainDefault(o *compile.Outcome) bool {
	return o.Egress == compile.Default && o.Ingress == compile.Default && !o.Log && !o.Differs && o.Deadline.IsZero()
}

// verdicts numbers the outcomes that cells use and writes their sets.
type verdicts struct {
	m    *compile.Matrix
	ids  *alloc
	now  time.Time
	of   map[int]uint32 // outcome -> verdict id
	used map[uint32]bool
	// halves are the outcomes of which one side is open or the two differ, with the
	// ids that stand for them: as a whole, for the egress side and for the ingress
	// side; 0 where that says nothing.
	halves   map[uint32][3]uint32
	halfUsed map[uint32]bool
}

func newVerdicts(m *compile.Matrix, ids *alloc, now time.Time) *verdicts {
	v := &verdicts{m: m, ids: ids, now: now, of: map[int]uint32{}, used: map[uint32]bool{},
		halves: map[uint32][3]uint32{}, halfUsed: map[uint32]bool{}}
	for _, id := range ids.verdicts {
		v.used[id] = true
	}
	for _, id := range ids.partials {
		v.halfUsed[id] = true
	}
	return v
}

// id gives the verdict id of an outcome.
func (v *verdicts) id(outcome int) uint32 {
	if id, ok := v.of[outcome]; ok {
		return id
	}
	o := &v.m.Outcomes[outcome]
	if v.sided(o) {
		id := v.partial(outcome)
		v.of[outcome] = id
		return id
	}
	var id uint32
	switch {
	case isPlainDefault(o) && o.Permit:
		id = verdictDefaultPermit
	case isPlainDefault(o):
		id = verdictDefaultDeny
	default:
		known, ok := v.ids.verdicts[verdictKey(v.m, outcome)]
		if !ok {
			known = VerdictBase | v.ids.take(keepVerdict, numberMask, func(n uint32) bool { return v.used[VerdictBase|n] })
			v.used[known] = true
			v.ids.verdicts[verdictKey(v.m, outcome)] = known
		}
		id = known
	}
	v.of[outcome] = id
	if o.After >= 0 {
		v.id(o.After)
	}
	return id
}

// useDefault notes that flows meet a default. A verdict that no flow can get is
// not installed, so that no mark of others can pass for it.
func (v *verdicts) useDefault(permit bool) {
	if permit {
		v.of[-1] = verdictDefaultPermit
	} else {
		v.of[-2] = verdictDefaultDeny
	}
}

// sets writes the sets and maps that give verdict ids their meaning.
func (v *verdicts) sets() []ruleset.Set {
	outcomes := make([]int, 0, len(v.of))
	for o, id := range v.of {
		if id&partialBits != partialBits {
			outcomes = append(outcomes, o)
		}
	}
	sort.Ints(outcomes)
	sort.SliceStable(outcomes, func(i, j int) bool { return v.of[outcomes[i]] < v.of[outcomes[j]] })
	var permit, timed, deny, logs, observed, after []ruleset.Element
	last := uint32(0)
	for _, n := range outcomes {
		id := v.of[n]
		if id == last {
			continue // a default that an outcome of a cell stands for too
		}
		last = id
		e := ruleset.Element{Key: native(id), HasCounter: true}
		count := v.ids.counted[id]
		e.Packets, e.Bytes = count[0], count[1]
		if id < firstVerdict {
			name := verb(id == verdictDefaultPermit) + " default"
			e.UserData = commentData(name)
			if id == verdictDefaultPermit {
				permit = append(permit, e, v.reversed(e, name))
			} else {
				deny = append(deny, e)
			}
			continue
		}
		o := &v.m.Outcomes[n]
		e.UserData = commentData(verdictKey(v.m, n))
		mark := ruleset.Element{Key: native(id)}
		if o.Log {
			logs = append(logs, mark)
		}
		if o.Differs {
			counted := mark
			counted.HasCounter = true
			observed = append(observed, counted)
		}
		if !o.Permit {
			deny = append(deny, e)
			continue
		}
		if !o.Deadline.IsZero() {
			e.Timeout = max(o.Deadline.Sub(v.now).Truncate(time.Millisecond), time.Millisecond)
			timed = append(timed, e, v.reversed(e, verdictKey(v.m, n)))
			after = append(after, ruleset.Element{Key: native(id), Data: native(v.of[o.After])})
			continue
		}
		permit = append(permit, e, v.reversed(e, verdictKey(v.m, n)))
	}
	return []ruleset.Set{
		countedSet(setPermit, kindMarks, 0, permit),
		countedSet(setPermitTimed, kindMarks, ruleset.SetTimeout, timed),
		countedSet(setDeny, kindMarks, 0, deny),
		hashSet(setLogged, kindMarks, 0, logs),
		countedSet(setObserved, kindMarks, 0, observed),
		hashSet(setAfter, kindMarkMap, 0, after),
	}
}

// reports says what there is of permitted flows: rules that every packet would run for
// nothing are left out.
type reports struct{ observed, logged, timed bool }

func (v *verdicts) reported() reports {
	var out reports
	for n, id := range v.of {
		if id < firstVerdict || id&partialBits == partialBits {
			continue
		}
		o := &v.m.Outcomes[n]
		out.observed = out.observed || o.Permit && o.Differs
		out.logged = out.logged || o.Permit && o.Log
		out.timed = out.timed || o.Permit && !o.Deadline.IsZero()
	}
	return out
}

// reversed is the element by which flows pass that bear the verdict of the
// opposite direction.
func (v *verdicts) reversed(e ruleset.Element, name string) ruleset.Element {
	id := word(e.Key) | reversedBit
	e.Key = native(id)
	count := v.ids.counted[id]
	e.Packets, e.Bytes = count[0], count[1]
	e.UserData = commentData(name + reversedNote)
	return e
}

// reversedNote marks the comment of such an element.
const reversedNote = " (picked up)"
