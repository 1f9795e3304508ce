package decode

import (
	"fmt"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// machine executes one program symbolically. It grows a decision diagram: a node
// for a state is a leaf (the services accepted and dropped), a split (which
// construct of which axis must be known to go on), or the union of several nodes
// that hold disjoint services. Nodes are made on demand and shared: packets that
// will fare alike, whatever brought them here, are one state.
type machine struct {
	prog      *program
	sets      map[string]*set
	live      *liveness
	frames    frames
	svc       *interned
	cons      []*construct
	conKey    map[string]int32    // constructs of comparisons, by what they compare
	portLists map[int32][][]int32 // of constructs that portsOf made

	ifaces      []iface
	ifaceKey    map[iface]int32
	numRanges   map[string][]packet.Span
	protoRanges map[[2]byte]packet.Services

	nodes    []node
	memo     map[state]int32
	memoStat []memoStat
	leaves   map[int32]int32 // result -> node
	results  results
	liveMemo map[uint64]live   // by position and stack
	readMemo map[uint64]uint64 // likewise
	stands   map[string]word   // see standFor
	standOf  map[standKey]word

	fns      []wordFn
	fnKey    map[wordFn]int32
	conWords map[int32][]uint32 // constructs whose values are words
	seen     map[int32]sight    // see see
	looks    map[int32]look     // constructs that go by the words of another one
	over     map[int32][]string // constructs of words -> the maps that they come from
	maskKey  map[wordKey]int32  // see maskedCon
	testKey  map[wordKey]wordAnswer
	overKey  map[overKey]int32
	derived  map[int32]derivation
	fines    map[string]*fine
	joints   []*joint
	jointKey map[jointKey]int32
	hubs     map[state]int32    // see hub
	ends     []*ends            // of nodes; see endsOf
	toured   bitset             // nodes whose leaves were inspected
	pairs    int                // up to how many pairs of classes are walked one by one
	maskMemo map[[2]int32]int32 // services, node -> node
	cutMemo  map[[2]int32]int32 // services, result -> result
	bothMemo map[[2]int32]int32 // services, services -> services
	calls    calls
	tails    tails

	causes   []cause
	causeKey map[cause]int32
	reached  map[cause]string // expressions that are not modelled and were reached
	assigned map[uint32]bool  // ct marks that an accepted packet may be given
	stray    bool             // an unknown ct mark may be given

	parts   map[string]*classes // partitions already computed
	checked map[int32]bool      // vectors already searched for undecided services

	run    run
	groups []outcome // see group
	only   [1]exit   // see execute
	steps  int
	limit  int
	full   bool // the limit was hit
	table  string
}

// cause names an expression: a rule's position and the expression in it.
type cause struct {
	pos int32
	op  int32
}

// memoStat counts what remembering the states of one position is worth.
type memoStat struct {
	hit, miss int
	off       bool
}

// maxSteps bounds the rules executed for one program, so that a hostile ruleset
// ends in a finding and not in a dead controller.
const maxSteps = 1 << 28

// memoTrial is after how many useless entries a position's states are no longer
// remembered. States that hold two addresses' words seldom come twice.
const memoTrial = 1_000

func newMachine(p *program, expired bool) *machine {
	m := &machine{
		prog: p, sets: map[string]*set{}, svc: newInterned(),
		frames: frames{index: map[frame]int32{}}, conKey: map[string]int32{},
		ifaceKey: map[iface]int32{}, numRanges: map[string][]packet.Span{}, protoRanges: map[[2]byte]packet.Services{},
		memo: map[state]int32{}, memoStat: make([]memoStat, len(p.chainAt)), leaves: map[int32]int32{},
		results: newResults(), liveMemo: map[uint64]live{}, readMemo: map[uint64]uint64{}, stands: map[string]word{}, standOf: map[standKey]word{},
		portLists: map[int32][][]int32{}, derived: map[int32]derivation{}, fines: map[string]*fine{},
		fnKey: map[wordFn]int32{}, conWords: map[int32][]uint32{}, looks: map[int32]look{}, seen: map[int32]sight{}, over: map[int32][]string{}, jointKey: map[jointKey]int32{},
		maskKey: map[wordKey]int32{}, testKey: map[wordKey]wordAnswer{}, overKey: map[overKey]int32{},
		hubs: map[state]int32{}, maskMemo: map[[2]int32]int32{}, cutMemo: map[[2]int32]int32{},
		bothMemo: map[[2]int32]int32{}, calls: newCalls(p), tails: newTails(p),
		causes: []cause{{-1, -1}}, causeKey: map[cause]int32{}, reached: map[cause]string{},
		parts: map[string]*classes{}, checked: map[int32]bool{},
		assigned: map[uint32]bool{}, limit: maxSteps, table: tableName(p.table),
	}
	for i := range p.table.Sets {
		s := &p.table.Sets[i]
		m.sets[s.Name] = compileSet(s, expired)
	}
	m.live = newLiveness(p)
	m.run.m = m
	return m
}

// causeOf numbers an expression.
func (m *machine) causeOf(pos int32, opIndex int) int32 {
	c := cause{pos, int32(opIndex)}
	if id, ok := m.causeKey[c]; ok {
		return id
	}
	id := int32(len(m.causes))
	m.causes = append(m.causes, c)
	m.causeKey[c] = id
	return id
}

// reach notes that some packet reaches an expression that is not modelled.
func (m *machine) reach(pos int32, opIndex int, why string) {
	if m.calls.now != nil { // for services that may not come here
		m.calls.now.bad = true
		return
	}
	c := cause{pos, int32(opIndex)}
	if _, ok := m.reached[c]; !ok {
		m.reached[c] = why
	}
}

// finding words a problem with one expression.
func (m *machine) finding(c cause, text string) driver.Finding {
	ch, i := m.prog.at(c.pos)
	object := m.table + " chain " + ch.name
	detail := "the end of the chain"
	if i < len(ch.rules) {
		r := &ch.rules[i]
		object += " " + ruleName(i, r.handle)
		if c.op >= 0 && int(c.op) < len(r.ops) {
			detail = " (at " + disasm(&r.ops[c.op]) + ")"
		} else {
			detail = ""
		}
		detail = disasmRule(r) + detail
	}
	return driver.Finding{Object: object, Text: fmt.Sprintf("not proved: %s: %s", detail, text)}
}

// construct returns the number of a construct that key describes, making it at
// first use.
func (m *machine) construct(key string, build func() *construct) int32 {
	if id, ok := m.conKey[key]; ok {
		return id
	}
	id := int32(len(m.cons))
	m.cons = append(m.cons, build())
	m.conKey[key] = id
	return id
}

// member makes the construct that tells whether a key lies in one of some runs.
func (m *machine) member(dom uint8, runs []part) int32 {
	b := []byte{dom}
	for i := range runs {
		runs[i].id = 0
		for _, v := range []uint64{runs[i].lo.hi, runs[i].lo.lo, runs[i].hi.hi, runs[i].hi.lo} {
			for s := 0; s < 64; s += 8 {
				b = append(b, byte(v>>s))
			}
		}
	}
	return m.construct(string(b), func() *construct {
		c, _ := cells(dom, runs)
		return c
	})
}
