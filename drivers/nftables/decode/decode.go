package decode

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// Options say what is ours.
type Options struct {
	Table string // of family inet
	// MarkValue and MarkMask are the range of connection tracking marks that are
	// ours. A mark with the lowest bit of the mask turned over is the reversed
	// variant: of a flow that was picked up from its far end.
	MarkValue, MarkMask uint32
	// Interfaces are to be told apart by name where the ruleset looks at the
	// incoming interface. Those that the ruleset names are told apart anyway.
	Interfaces []string
	// Pairs is up to how many pairs of classes of a family a relation holds one by
	// one; beyond it, tables say what is looked up for a pair. 0 is DefaultPairs.
	Pairs int
}

// Marks are the connection tracking marks that mean something to the ruleset.
type Marks struct {
	Accepting  []uint32 // established packets that bear it pass where they would be dropped without
	Assignable []uint32 // a packet that passes may be given it
}

// Result is everything that decoding finds out.
type Result struct {
	Decoded *driver.Decoded
	Marks   Marks
}

// Decode works out what a ruleset lets through. Finding.Point, Situation.Point
// and Installed are left for the caller, who knows which points a table serves.
//
// Permit is empty for a pair of classes of different families: there is no such
// packet. The functions of a relation may be called from several goroutines.
func Decode(rs *ruleset.Ruleset, opt Options) *driver.Decoded {
	return Analyze(rs, opt).Decoded
}

// Analyze is Decode with the marks.
func Analyze(rs *ruleset.Ruleset, opt Options) Result {
	return newDecoder(rs, opt).analyze()
}

// Decode is the package's Decode, with what was worked out before.
func (c *Cache) Decode(rs *ruleset.Ruleset, opt Options) *driver.Decoded {
	return c.Analyze(rs, opt).Decoded
}

// Analyze is the package's Analyze, with what was worked out before.
func (c *Cache) Analyze(rs *ruleset.Ruleset, opt Options) Result {
	d := newDecoder(rs, opt)
	d.cache = c
	return d.analyze()
}

func newDecoder(rs *ruleset.Ruleset, opt Options) *decoder {
	return &decoder{opt: opt, rs: rs, out: &driver.Decoded{}, seen: map[driver.Finding]bool{}, blamed: map[string]bool{}}
}

func (d *decoder) analyze() Result {
	marks := d.table()
	d.foreign()
	slices.SortStableFunc(d.out.Findings, func(a, b driver.Finding) int {
		return cmp.Or(cmp.Compare(a.Object, b.Object), cmp.Compare(a.Text, b.Text))
	})
	return Result{d.out, marks}
}

type decoder struct {
	opt    Options
	rs     *ruleset.Ruleset
	out    *driver.Decoded
	seen   map[driver.Finding]bool
	blamed map[string]bool
	effort effort
	cache  *Cache
}

// effort counts what decoding took, for a test that holds it to a bound.
type effort struct{ steps, nodes, results, constructs int }

func (d *decoder) find(f driver.Finding) {
	if !d.seen[f] {
		d.seen[f] = true
		d.out.Findings = append(d.out.Findings, f)
	}
}

func (d *decoder) note(object, text string) { d.find(driver.Finding{Object: object, Text: text}) }

// table decodes our own table.
func (d *decoder) table() Marks {
	t := d.rs.Table(ruleset.FamilyInet, d.opt.Table)
	if t == nil {
		d.note("table inet "+d.opt.Table, "not proved: there is no such table")
		return Marks{}
	}
	if t.Flags&unix.NFT_TABLE_F_DORMANT != 0 {
		d.note(tableName(t), "not proved: the table is dormant, nothing of it is enforced")
		return Marks{}
	}
	d.windows(t)
	p := compile(t, d.note)
	d.fragments(p)
	var text []byte
	if d.cache != nil {
		text = textOf(p, d.opt)
	}
	k := d.cache.find(p, text, d.opt)
	if k == nil {
		k = work(p, d.opt)
		k.text = text
		d.cache.keep(k)
	}
	d.out.Relations = append(d.out.Relations, k.relationsFor(p)...)
	for _, f := range k.findings {
		d.find(f)
	}
	d.effort = k.effort
	return k.marks
}

// work finds out what a program means.
func work(p *program, opt Options) *meaning {
	d := newDecoder(nil, opt)
	variants := []bool{false}
	if hasTimed(p) {
		variants = append(variants, true)
	}
	var all marks
	for _, expired := range variants {
		m := newMachine(p, expired)
		m.pairs = cmp.Or(opt.Pairs, DefaultPairs)
		for _, name := range opt.Interfaces {
			m.mention(iface{name: name})
		}
		d.variant(m, expired, &all)
		d.effort.steps += m.steps
		d.effort.nodes += len(m.nodes)
		d.effort.results += len(m.results.list)
		d.effort.constructs += len(m.cons)
	}
	marks := d.judgeMarks(p.table, &all)
	return &meaning{prog: p, handles: p.handles(), relations: d.out.Relations, findings: d.out.Findings, marks: marks, effort: d.effort}
}

// windows reports learning windows, which are evaluated as if they were over.
func (d *decoder) windows(t *ruleset.Table) {
	for i := range t.Sets {
		s := &t.Sets[i]
		if !learning(s) {
			continue
		}
		left := time.Duration(0)
		open := false
		for k := range s.Elements {
			e := &s.Elements[k]
			if timed(s, e) {
				open = true
				left = max(left, cmp.Or(e.Expiration, e.Timeout, s.Timeout))
			}
		}
		if open {
			f := driver.Finding{Object: tableName(t) + " set " + s.Name, Harmless: true,
				Text: "flows that were there before are found again for " + left.Round(time.Second).String() + "; decoded as if that were over"}
			if strings.HasPrefix(s.Name, "learning") {
				f.Observing = left
				f.Text = "observing for " + left.Round(time.Second).String() + ", nothing is dropped yet; decoded as if that were over"
			}
			d.find(f)
		}
	}
}

// fragments notes that nothing guarantees whole packets: connection tracking
// reassembles them, and it runs where a ct expression exists.
func (d *decoder) fragments(p *program) {
	ports := false
	for i := range p.chains {
		for k := range p.chains[i].rules {
			for _, o := range p.chains[i].rules[k].ops {
				if o.code == opCtLoad || o.code == opCtSet {
					return
				}
				ports = ports || o.code == opPayload && o.base == unix.NFT_PAYLOAD_TRANSPORT_HEADER
			}
		}
	}
	if ports {
		d.note(tableName(p.table), "not proved: ports are matched and nothing makes the kernel reassemble fragments (no ct expression)")
	}
}

// hasTimed reports whether a set that rules look up has elements that leave by
// themselves, other than a learning window's.
func hasTimed(p *program) bool {
	used := map[string]bool{}
	for i := range p.chains {
		for k := range p.chains[i].rules {
			for _, o := range p.chains[i].rules[k].ops {
				if o.code == opLookup {
					used[o.set] = true
				}
			}
		}
	}
	for i := range p.table.Sets {
		s := &p.table.Sets[i]
		if !used[s.Name] || s.Dynamic() || learning(s) {
			continue
		}
		for k := range s.Elements {
			if timed(s, &s.Elements[k]) {
				return true
			}
		}
	}
	return false
}

func trackings() []driver.Tracking {
	return []driver.Tracking{driver.TrackNew, driver.TrackForward, driver.TrackReply, driver.TrackRelated, driver.TrackUntracked}
}

// variant makes the relations of one variant of the elements.
func (d *decoder) variant(m *machine, expired bool, all *marks) {
	all.collect(m, d.opt)
	accepting := d.accepting(m, all)
	lock := &sync.Mutex{}
	for _, hook := range hookNames() {
		if _, ok := m.prog.starts[hook]; !ok {
			continue
		}
		for _, t := range trackings() {
			d.situation(m, lock, hook, t, expired, accepting)
		}
		d.bare(m, hook)
	}
	for w := range m.assigned {
		all.assigned[w] = true
	}
	if m.stray {
		d.note(m.table, "not proved: a packet that passes may be given a connection mark that cannot be known")
	}
	if m.full {
		d.note(m.table, "not proved: the ruleset is too large to execute")
	}
	for c, why := range m.reached {
		d.find(m.finding(c, why))
	}
}

// storeLimit is up to how many pairs of classes a relation keeps its results;
// above it, they are computed again when asked for.
const storeLimit = 1 << 25

// situation evaluates one hook and tracking situation and appends a relation for
// each combination of interface and source ports.
func (d *decoder) situation(m *machine, lock *sync.Mutex, hook string, t driver.Tracking, expired bool, accepting []uint32) {
	starts := m.starts(hook, t, accepting)
	v := newView(m)
	v.addRoot(starts)
	var matrix [2][]int32
	store := true
	values := map[int32]bool{}
	v.walk(func() {
		clear(values)
		size := 0
		for fam := range matrix {
			matrix[fam] = matrix[fam][:0]
			size += len(v.classes[fam][axisSrc].addrs) * len(v.classes[fam][axisDst].addrs)
		}
		store = size <= storeLimit
	}, func(fam, i, j int, vals []int32) bool {
		if store {
			matrix[fam] = append(matrix[fam], vals[0])
		}
		values[vals[0]] = true
		d.inspect(v, fam, i, j, vals[0], hook, t)
		return true
	})
	if !store {
		matrix = [2][]int32{}
	}
	lv := &relationView{v: v, lock: lock, matrix: matrix, starts: starts}
	src, dst := lv.addrs(axisSrc), lv.addrs(axisDst)
	open := slices.ContainsFunc(slices.Collect(maps.Keys(values)), func(val int32) bool { return m.opens(val, len(v.ifs)*v.nPorts) })
	for _, c := range v.combos(values) {
		rel := driver.Relation{
			Situation: driver.Situation{
				Hook: hook, Tracking: t, In: c.in, SrcPortLo: uint16(c.ports.Lo), SrcPortHi: uint16(c.ports.Hi), Expired: expired,
			},
			Src: src, Dst: dst,
			Permit: func(i, j int) packet.Services { return lv.permit(i, j, c.vector) },
			Why:    func(s, t netip.Addr, svc uint32) string { return lv.why(s, t, svc, c) },
		}
		if open {
			rel.Rest = func(i, j int) []driver.Case { return lv.rest(i, j, c) }
			rel.ByWord = v.byWord()
		}
		d.out.Relations = append(d.out.Relations, rel)
	}
}

// inspect looks once at each distinct value of a walk: it collects the marks
// that are written, and makes a finding of services that may pass or not.
func (d *decoder) inspect(v *view, fam, i, j int, vec int32, hook string, t driver.Tracking) {
	m := v.m
	if m.checked[vec] {
		return
	}
	n := len(v.ifs) * v.nPorts
	open := m.opens(vec, n)
	if vec >= 0 && !open {
		n = 1
	}
	// What a node does may depend on the component, and components on the view.
	m.checked[vec] = !open || !v.innerIface && !v.innerPort
	if !m.checked[vec] {
		if v.checked == nil {
			v.checked = map[int32]bool{}
		}
		if v.checked[vec] {
			return
		}
		v.checked[vec] = true
	}
	ends := func() string {
		return fmt.Sprintf("%s to %s", v.classes[fam][axisSrc].addrs[i].First(), v.classes[fam][axisDst].addrs[j].First())
	}
	some := func() string { return "some pair of addresses" }
	visit := func(res int32) { d.inspectLeaf(m, m.results.list[res], hook, t, some) }
	for _, part := range v.componentsOf(vec, n) {
		r := m.results.list[part.res]
		d.inspectLeaf(m, r, hook, t, ends)
		for _, e := range m.results.opens[r.open] {
			v.tour(e.node, part.at, visit)
		}
	}
}

func (d *decoder) inspectLeaf(m *machine, r result, hook string, t driver.Tracking, ends func() string) {
	for _, w := range m.results.marks[r.marks] {
		if w.known() {
			m.assigned[uint32(w)] = true
		} else {
			m.stray = true
		}
	}
	if both := m.svc.sets[r.accept].Intersect(m.svc.sets[r.drop]); len(both) > 0 {
		d.undecided(m, r.cause, fmt.Sprintf("%s, %s, %s, %s", hook, t, ends(), both[:1]))
	}
}

// undecided makes a finding of a result in which a service may pass or not.
func (d *decoder) undecided(m *machine, c int32, example string) {
	if c == 0 {
		d.blame(driver.Finding{Object: m.table}, "not proved: verdicts depend on the mark that an expected connection inherits", example)
		return
	}
	f := m.finding(m.causes[c], "verdicts depend on it and it cannot be known")
	d.blame(driver.Finding{Object: f.Object}, f.Text, example)
}

// blame makes a finding with an example, once.
func (d *decoder) blame(f driver.Finding, text, example string) {
	if key := f.Object + "\x00" + text; !d.blamed[key] {
		d.blamed[key] = true
		f.Text = text + ", for example " + example
		d.find(f)
	}
}
