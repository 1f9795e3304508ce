package prove

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
)

// identity is what addresses are to policy: their groups, and their values of the
// labels that policies compare.
type identity struct {
	number int
	groups []int
	values packet.Bits
	at     map[netip.Addr]bool // those that moved last to it and were proved
}

// identities are those of addresses that have moved since a device was proved whole.
type identities struct {
	byKey   map[string]*identity
	classes map[string]int32 // the same of classes; made when it is asked for
}

func identityKey(groups []int, values packet.Bits) string {
	b := make([]byte, 0, 4*len(groups)+8*len(values)+4)
	b = binary.LittleEndian.AppendUint32(b, uint32(len(groups))) // or a value could pass for a group
	for _, g := range groups {
		b = binary.LittleEndian.AppendUint32(b, uint32(g))
	}
	for _, v := range values {
		b = binary.LittleEndian.AppendUint64(b, v)
	}
	return string(b)
}

// unproved stands for what an address is that has moved and was not proved since: no
// other address is shown by such a one.
var unproved = &identity{number: -1}

// Moving says that addresses have moved, before any of them is proved.
func (s *Standing) Moving(list []driver.Moved) {
	for i := range list {
		a := list[i].Addr
		if was := s.moved[a]; was != nil {
			delete(was.at, a)
		}
		s.moved[a] = unproved
	}
}

// note says what an address is, now that it was proved.
func (s *Standing) note(a netip.Addr, groups []int, values packet.Bits) {
	key := identityKey(groups, values)
	if was := s.moved[a]; was != nil {
		delete(was.at, a)
	}
	// Of one that is again what its class is nothing is kept: addresses come and go every
	// day, and most that ever came are gone.
	if c := s.m.ClassOf(a); !s.m.Contested(c) && key == identityKey(s.m.Classes[c].Groups, s.m.Values(c)) {
		delete(s.moved, a)
		return
	}
	id := s.ids.byKey[key]
	if id == nil {
		id = &identity{len(s.ids.byKey), groups, values, map[netip.Addr]bool{}}
		s.ids.byKey[key] = id
	}
	s.moved[a], id.at[a] = id, true
}

// Amended goes by other policies from here on, of which the change was proved by
// witnesses. What tables must know of classes by them is not worked out: from then on
// an address is shown by another one of its identity.
func (s *Standing) Amended() { s.amended, s.sides = true, nil }

// By says what the device holds for addresses, as far as it is known.
func (s *Standing) By(holds Holds) { s.holds = holds }

// Shown takes an address for proved that was held against everybody.
func (s *Standing) Shown(a netip.Addr, id Identity) error {
	groups, values, err := s.numbers(id)
	if err == nil {
		s.note(a, groups, values)
		s.meets(groups)
	}
	return err
}

// likeAnother shows that a device treats an address like one that was proved and is
// the same to policy.
func (s *Standing) likeAnother(mv *driver.Moved, groups []int, values packet.Bits) error {
	if s.holds == nil {
		return errors.New("it is not known what the device holds for others")
	}
	other, ok := s.another(mv.Addr, identityKey(groups, values))
	switch {
	case !ok:
		return errors.New("no other address is in the same groups")
	case s.holds.Word(other) != mv.Word:
		return fmt.Errorf("the device holds another word for it than for %s", other)
	}
	return nil
}

// another finds an address of an identity and of one family, other than one.
func (s *Standing) another(a netip.Addr, key string) (netip.Addr, bool) {
	if id := s.ids.byKey[key]; id != nil {
		for other := range id.at {
			if other != a && other.Is4() == a.Is4() {
				return other, true
			}
		}
	}
	if s.ids.classes == nil {
		s.ids.classes = make(map[string]int32, len(s.m.Classes))
		for c := range s.m.Classes {
			if !s.m.Contested(c) {
				s.ids.classes[identityKey(s.m.Classes[c].Groups, s.m.Values(c))] = int32(c)
			}
		}
	}
	c, ok := s.ids.classes[key]
	if !ok {
		return a, false
	}
	for _, r := range s.m.Classes[c].Addrs.Runs() {
		if r.From.Is4() != a.Is4() {
			continue
		}
		for other := r.From; ; other = other.Next() {
			if other != a && s.moved[other] == nil {
				return other, true
			}
			if other == r.To {
				break
			}
		}
	}
	return a, false
}
