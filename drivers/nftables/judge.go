package nftables

import (
	"bytes"
	"encoding/binary"
	"net/netip"
	"slices"
	"strings"

	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/drivers/nftables/ruleset"
	"bulkhead/pkg/packet"
)

// judge says which verdict a table gives to a tracked flow. It walks the table's
// own maps as the kernel would, and is used only to find flows whose mark no
// longer fits: those lose their mark, and the kernel judges their next packet.
// A mistake here could cost a flow one more judgement, never give it a verdict.
type judge struct {
	// hosts are the sets of single addresses, each sorted by key. They are searched
	// and not made a map of: a site has a million, and often no flow at all.
	hosts []hostSet
	// moved are addresses whose element is another one than in hosts, or gone.
	moved map[netip.Addr]hostAt
	nets  [2][]netRun
	pairs map[string]map[[8]byte]uint32 // by the name of the set
	keep  map[uint32]uint32
	half  map[string]map[uint32]uint32 // what stands for partial verdicts
	svc   map[string]uint32
	ports map[uint32][]portRun
	proto map[[8]byte]uint32
	rest  map[uint32]uint32
	// permits are the verdicts that let flows through.
	permits map[uint32]bool

	table *ruleset.Table // not read yet: often there is no flow to judge
}

type netRun struct {
	from netip.Addr
	word uint32
}

type portRun struct {
	lo, hi  []byte
	verdict uint32
}

func newJudge(t *ruleset.Table) *judge {
	return &judge{table: t}
}

// read takes the table apart when it is first asked for.
func (j *judge) read() {
	t := j.table
	if t == nil {
		return
	}
	*j = judge{pairs: map[string]map[[8]byte]uint32{}, keep: map[uint32]uint32{}, half: map[string]map[uint32]uint32{}, svc: map[string]uint32{},
		ports: map[uint32][]portRun{}, proto: map[[8]byte]uint32{}, rest: map[uint32]uint32{}, permits: map[uint32]bool{}}
	for i := range t.Sets {
		s := &t.Sets[i]
		if render.HostSet(s.Name) {
			j.hosts = append(j.hosts, hostSet{s.Name, sortedByKey(s.Elements)})
			continue
		}
		for k := range s.Elements {
			j.element(s.Name, &s.Elements[k])
		}
	}
	for i := range j.nets {
		slices.SortFunc(j.nets[i], func(a, b netRun) int { return a.from.Compare(b.from) })
	}
}

// permitted reports whether a verdict lets flows through.
func (j *judge) permitted(verdict uint32) bool {
	j.read()
	return j.permits[verdict]
}

func (j *judge) element(set string, e *ruleset.Element) {
	var value uint32
	if len(e.Data) == 4 {
		value = binary.NativeEndian.Uint32(e.Data)
	}
	if render.IsNetSet(set) {
		a, ok := netip.AddrFromSlice(e.Key)
		if ok && e.Flags&ruleset.ElemIntervalEnd == 0 {
			j.nets[famIndex(a)] = append(j.nets[famIndex(a)], netRun{a, value})
		}
		return
	}
	switch set {
	case "keep":
		j.keep[binary.NativeEndian.Uint32(e.Key)] = value
	case "svc":
		j.svc[string(e.Key)] = value
	case "svcr":
		id := binary.BigEndian.Uint32(e.Key)
		j.ports[id] = append(j.ports[id], portRun{e.Key[4:], e.KeyEnd[4:], value})
	case "proto":
		j.proto[[8]byte(e.Key)] = value
	case "permit", "permit_timed":
		j.permits[binary.NativeEndian.Uint32(e.Key)] = true
	case "rest":
		j.rest[binary.NativeEndian.Uint32(e.Key)] = value
	default:
		switch {
		case strings.HasPrefix(set, "pair") && len(e.Key) == 8:
			put(j.pairs, set, [8]byte(e.Key), value)
		case strings.HasPrefix(set, "partial") && len(e.Key) == 4:
			put(j.half, set, binary.NativeEndian.Uint32(e.Key), value)
		}
	}
}

func put[K comparable](m map[string]map[K]uint32, set string, key K, value uint32) {
	if m[set] == nil {
		m[set] = map[K]uint32{}
	}
	m[set][key] = value
}

func famIndex(a netip.Addr) int {
	if a.Is4() {
		return 0
	}
	return 1
}

func sortedByKey(es []ruleset.Element) []ruleset.Element {
	byKey := func(a, b ruleset.Element) int { return bytes.Compare(a.Key, b.Key) }
	if slices.IsSortedFunc(es, byKey) {
		return es
	}
	es = slices.Clone(es)
	slices.SortFunc(es, byKey)
	return es
}

// word gives the class word of an address. The interval maps cover the whole
// space, so the run that starts last before the address holds it.
func (j *judge) word(a netip.Addr) uint32 {
	if at := j.host(a); at.there {
		return at.word
	}
	return j.netWord(a)
}

// hostSet is a map of single addresses, by key.
type hostSet struct {
	name  string
	elems []ruleset.Element
}

// hostAt is the element of a single address, if there is one.
type hostAt struct {
	word  uint32
	set   string
	there bool
}

// move notes the element that an address has from now on. Of one that has what it had
// when the table was read, nothing is kept: addresses come and go every day.
func (j *judge) move(a netip.Addr, at hostAt) {
	if j.listed(a) == at || !at.there && !j.listed(a).there {
		delete(j.moved, a)
		return
	}
	j.moved[a] = at
}

// host finds the element of a single address.
func (j *judge) host(a netip.Addr) hostAt {
	if at, ok := j.moved[a]; ok {
		return at
	}
	return j.listed(a)
}

// listed is the element that an address had when the table was read.
func (j *judge) listed(a netip.Addr) hostAt {
	key := a.AsSlice()
	for _, h := range j.hosts {
		i, ok := slices.BinarySearchFunc(h.elems, key, func(e ruleset.Element, key []byte) int { return bytes.Compare(e.Key, key) })
		if ok && len(h.elems[i].Data) == 4 {
			return hostAt{binary.NativeEndian.Uint32(h.elems[i].Data), h.name, true}
		}
	}
	return hostAt{}
}

// netWord gives the word of the run that an address lies in.
func (j *judge) netWord(a netip.Addr) uint32 {
	runs := j.nets[famIndex(a)]
	i, found := slices.BinarySearchFunc(runs, a, func(r netRun, a netip.Addr) int { return r.from.Compare(a) })
	if !found {
		i--
	}
	if i < 0 {
		return 0
	}
	return runs[i].word
}

// flow gives the verdict id of a tracked flow, as the forward hook sees it: after
// translation of the destination, before that of the source.
func (j *judge) flow(f *kernel.Flow) uint32 {
	src, dst, num := f.Orig.Src, f.Reply.Src, f.Reply.SrcPort
	if f.Mark&render.VerdictMask == render.ReversedBase {
		src, dst, num = f.Reply.Src, f.Orig.Src, f.Orig.SrcPort
	}
	if packet.IsICMP(f.Orig.Proto) {
		num = uint16(f.Orig.ICMPType)<<8 | uint16(f.Orig.ICMPCode)
	}
	return j.verdict(src, dst, f.Orig.Proto, num)
}

func (j *judge) verdict(src, dst netip.Addr, proto uint8, num uint16) uint32 {
	j.read()
	a, b := j.word(src), j.word(dst)
	egress, ingress := false, false // already allowed
	for space := 0; ; space++ {
		set, row, col, ok := render.SpaceOf(j.keep, space)
		if !ok {
			return render.DefaultVerdict(a, b, egress, ingress)
		}
		pair := [8]byte(append(binary.NativeEndian.AppendUint32(nil, a&row), binary.NativeEndian.AppendUint32(nil, b&col)...))
		id, ok := j.pairs[set][pair]
		if !ok {
			continue
		}
		v := j.service(id, proto, num)
		if !render.Partial(v) {
			if v != 0 {
				return v
			}
			continue
		}
		name := "partial"
		if egress {
			name = "partial_in"
		} else if ingress {
			name = "partial_out"
		}
		if v, ok := j.half[name][v]; ok {
			return v
		}
		if !egress && !ingress {
			egress, ingress = render.Allows(v)
		}
	}
}

// service asks a ruleset; 0 where it says nothing.
func (j *judge) service(id uint32, proto uint8, num uint16) uint32 {
	tail := append([]byte{proto, 0, 0, 0}, byte(num>>8), byte(num), 0, 0)
	if v, ok := j.svc[string(append(binary.NativeEndian.AppendUint32(nil, id), tail...))]; ok {
		return v
	}
	for _, r := range j.ports[id] {
		if r.lo[0] == proto && bytes.Compare(r.lo[4:], tail[4:]) <= 0 && bytes.Compare(tail[4:], r.hi[4:]) <= 0 {
			return r.verdict
		}
	}
	if v, ok := j.proto[[8]byte(append(binary.NativeEndian.AppendUint32(nil, id), proto, 0, 0, 0))]; ok {
		return v
	}
	return j.rest[id]
}
