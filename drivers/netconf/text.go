package netconf

import (
	"fmt"
	"strings"
)

// Text shows our lists entry by entry, and what they are bound to, for people: each dialect
// writes the same in its own words.
func (s *State) Text() string {
	var b strings.Builder
	own := s.own()
	for i := range own.Lists {
		l := &own.Lists[i]
		fmt.Fprintf(&b, "list %s\n", l.Name)
		for k := range l.Entries {
			fmt.Fprintf(&b, "  %s\n", l.Entries[k])
		}
	}
	for i := range own.Ports {
		p := &own.Ports[i]
		fmt.Fprintf(&b, "port %s\n", p.Name)
		for _, x := range p.Bound {
			fmt.Fprintf(&b, "  %s %s\n", x.Dir, x.List)
		}
	}
	return b.String()
}
