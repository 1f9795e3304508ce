package render

import (
	"encoding/binary"
	"slices"

	"bulkhead/drivers/nftables/ruleset"
)

// listed is one of the layout's contents as elements.
type listed struct {
	*content
	text  string // equal for equal contents
	canon int    // the first of the contents with this text
}

// named reports whether the content at a place gets an id of its own.
func (l *listed) named(at int) bool { return l.content != nil && l.canon == at }

// pairOf is an entry of a space: two masked words, and the content between them.
type pairOf struct {
	src, dst uint32
	content  int
}

func (s *matrixSets) writePairs() {
	list := make([]listed, len(s.layout.Contents))
	byText := map[string]int{} // text -> contents that have it first
	votes := map[int]map[uint32]int{}
	same := slices.Equal(s.fields, s.ids.fields) && slices.Equal(s.masks, s.ids.masks)
	pairs := make([][]pairOf, len(s.layout.Spaces))
	for k := range s.layout.Spaces {
		sp := &s.layout.Spaces[k]
		pairs[k] = make([]pairOf, 0, len(sp.Entries))
		for _, e := range sp.Entries {
			l := &list[e.Content]
			if l.content == nil {
				l.content = s.content(s.layout.Contents[e.Content], sp.Whole)
				l.text = l.content.lines()
				first, ok := byText[l.text]
				if !ok {
					first = int(e.Content)
					byText[l.text] = first
				}
				l.canon = first
			}
			p := pairOf{s.words[e.Src] & s.masks[k][0], s.words[e.Dst] & s.masks[k][1], l.canon}
			pairs[k] = append(pairs[k], p)
			if !same {
				continue
			}
			if old, ok := s.ids.pairs[k][[2]uint32{p.src, p.dst}]; ok {
				if votes[l.canon] == nil {
					votes[l.canon] = map[uint32]int{}
				}
				votes[l.canon][old]++
			}
		}
	}
	s.noteDefaults()
	ids := s.nameRulesets(list, votes)
	for k := range pairs {
		s.sets = append(s.sets, hashSet(pairSet(k), kindPair, 0, pairElements(pairs[k], ids)))
	}
	s.writeServices(list, ids)
}

// pairElements writes the entries of a space, with the bytes of all in one piece
// of memory.
func pairElements(pairs []pairOf, ids []uint32) []ruleset.Element {
	bytes := make([]byte, 0, 12*len(pairs))
	out := make([]ruleset.Element, len(pairs))
	for i, p := range pairs {
		at := len(bytes)
		bytes = binary.NativeEndian.AppendUint32(bytes, p.src)
		bytes = binary.NativeEndian.AppendUint32(bytes, p.dst)
		bytes = binary.NativeEndian.AppendUint32(bytes, ids[p.content])
		out[i].Key, out[i].Data = bytes[at:at+8:at+8], bytes[at+8:at+12:at+12]
	}
	return out
}

// writeServices writes what each ruleset says of services.
func (s *matrixSets) writeServices(list []listed, ids []uint32) {
	var svc, svcr, proto, rest []ruleset.Element
	for n, id := range ids {
		if !list[n].named(n) {
			continue
		}
		for _, e := range list[n].content.elements(id) {
			switch e.set {
			case setSvc:
				svc = append(svc, e.el)
			case setSvcRange:
				svcr = append(svcr, e.el)
			case setProto:
				proto = append(proto, e.el)
			default:
				rest = append(rest, e.el)
			}
		}
	}
	s.sets = append(s.sets, hashSet(setSvc, kindService, 0, svc),
		intervalSet(setSvcRange, kindService, svcr), hashSet(setProto, kindProto, 0, proto), hashSet(setRest, kindMarkMap, 0, rest))
}

// elements writes the contents of a ruleset.
func (c *content) elements(id uint32) []inSet {
	out := make([]inSet, 0, len(c.svc)+len(c.svcRange)+len(c.proto)+1)
	for _, e := range c.svc {
		out = append(out, inSet{setSvc, ruleset.Element{Key: join(native(id), e.key), Data: native(e.verdict)}})
	}
	for _, e := range c.svcRange {
		out = append(out, inSet{setSvcRange, ruleset.Element{Key: join(big32(id), e.key), KeyEnd: join(big32(id), e.end), Data: native(e.verdict)}})
	}
	for _, e := range c.proto {
		out = append(out, inSet{setProto, ruleset.Element{Key: join(native(id), e.key), Data: native(e.verdict)}})
	}
	if c.rest != undecided {
		out = append(out, inSet{setRest, ruleset.Element{Key: native(id), Data: native(c.rest)}})
	}
	return out
}
