package netconf

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
)

// State is what a switch holds: our lists, bound or not, the bindings of all ports, and lists
// of others that a port has. Other lists of theirs are known by name.
type State struct {
	Config portacl.Config
	// Taken are the names of lists of others that no port has.
	Taken []string
	site  string
}

func stateOf(s driver.State) (*State, error) {
	if n, ok := s.(*State); ok && n != nil {
		return n, nil
	}
	return nil, fmt.Errorf("not a state of a switch: %T", s)
}

// newState keeps of a configuration what matters.
func newState(site string, c portacl.Config) *State {
	s := &State{site: site}
	bound := map[string]bool{}
	for i := range c.Ports {
		for _, b := range c.Ports[i].Bound {
			bound[b.List] = true
		}
	}
	for _, l := range c.Lists {
		if ours(site, l.Name) || bound[l.Name] {
			s.Config.Lists = append(s.Config.Lists, l)
		} else {
			s.Taken = append(s.Taken, l.Name)
		}
	}
	s.Config.Ports = c.Ports
	s.Config.Sort()
	slices.Sort(s.Taken)
	return s
}

// ours reports whether a list is ours: one for ports, or the mark of a trial.
func ours(site, name string) bool {
	_, _, mark := readMark(site, name)
	return mark || portacl.Ours(site, name)
}

// Fingerprint digests our lists, and what is bound to any port.
func (s *State) Fingerprint() string {
	h := sha256.New()
	for i := range s.Config.Lists {
		l := &s.Config.Lists[i]
		fmt.Fprintf(h, "list %q %d %q\n", l.Name, l.Family, l.Unknown)
		for _, e := range l.Entries {
			fmt.Fprintf(h, " %s\n", e)
		}
	}
	for _, p := range s.Config.Ports {
		fmt.Fprintf(h, "port %q %q %q\n", p.Name, fmt.Sprint(p.Bound), p.Unknown)
	}
	return hex.EncodeToString(h.Sum(nil))
}

// serving lists the points that bound lists of ours serve.
func (s *State) serving(points []string) []string {
	var out []string
	for i := range s.Config.Ports {
		for _, b := range s.Config.Ports[i].Bound {
			out = append(out, portacl.Serves(s.site, b.List, points)...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// bound reports whether a port has a list of ours.
func (s *State) bound() bool {
	for i := range s.Config.Ports {
		if slices.ContainsFunc(s.Config.Ports[i].Bound, func(b portacl.Bound) bool { return portacl.Ours(s.site, b.List) }) {
			return true
		}
	}
	return false
}

// loose lists our lists that no port has.
func (s *State) loose() []string {
	var out []string
	for _, l := range s.Config.Lists {
		used := slices.ContainsFunc(s.Config.Ports, func(p portacl.Port) bool {
			return slices.ContainsFunc(p.Bound, func(b portacl.Bound) bool { return b.List == l.Name })
		})
		if !used && ours(s.site, l.Name) {
			out = append(out, l.Name)
		}
	}
	return out
}

// own is the state without what others have: what a journal keeps of it.
func (s *State) own() portacl.Config {
	var out portacl.Config
	for _, l := range s.Config.Lists {
		if ours(s.site, l.Name) {
			out.Lists = append(out.Lists, l)
		}
	}
	for _, p := range s.Config.Ports {
		mine := portacl.Port{Name: p.Name}
		for _, b := range p.Bound {
			if ours(s.site, b.List) {
				mine.Bound = append(mine.Bound, b)
			}
		}
		if len(mine.Bound) > 0 {
			out.Ports = append(out.Ports, mine)
		}
	}
	out = out.Clone()
	out.Sort()
	return out
}

// with gives another configuration of ours beside what others have here.
func (s *State) with(own portacl.Config) *State {
	next := &State{Config: s.Config.Clone(), Taken: slices.Clone(s.Taken), site: s.site}
	c := &next.Config
	c.Lists = slices.DeleteFunc(c.Lists, func(l portacl.List) bool { return ours(s.site, l.Name) })
	for i := range c.Ports {
		c.Ports[i].Bound = slices.DeleteFunc(c.Ports[i].Bound, func(b portacl.Bound) bool { return ours(s.site, b.List) })
	}
	c.Lists = append(c.Lists, own.Lists...)
	for _, p := range own.Ports {
		if at := c.Port(p.Name); at != nil {
			at.Bound = append(at.Bound, p.Bound...)
		} else {
			c.Ports = append(c.Ports, portacl.Port{Name: p.Name, Bound: slices.Clone(p.Bound)})
		}
	}
	c.Sort()
	return next
}

// A mark is a list that no port has; its name tells until when a change is on trial, and the id
// that confirms it:
//
//	bh-SITE-trial-SECONDS-ID
//
// Where a list sees both families it is read back as one of both.
func mark(site string, until time.Time, id string, oneList bool) portacl.List {
	l := portacl.List{Name: fmt.Sprintf("bh-%s-trial-%d-%s", portacl.Site(site), until.Unix(), id), Family: portacl.IPv4}
	if oneList {
		l.Family = portacl.Both
	}
	l.Entries = []portacl.Entry{portacl.New(false, portacl.AnyProto, all4, all4)}
	l.Entries[0].Name = "10"
	return l
}

func readMark(site, name string) (until time.Time, id string, ok bool) {
	rest, ok := strings.CutPrefix(name, "bh-"+portacl.Site(site)+"-trial-")
	if !ok {
		return until, "", false
	}
	seconds, id, ok := strings.Cut(rest, "-")
	n, err := strconv.ParseInt(seconds, 10, 64)
	if !ok || err != nil || id == "" || strings.Contains(id, "-") {
		return until, "", false
	}
	return time.Unix(n, 0), id, true
}

// onTrial finds the mark in a state.
func (s *State) onTrial() (until time.Time, id string, ok bool) {
	for _, l := range s.Config.Lists {
		if until, id, ok = readMark(s.site, l.Name); ok {
			return until, id, true
		}
	}
	return until, "", false
}

// form is a state as it is written down: what is ours.
type form struct {
	Format string         `json:"format"`
	Site   string         `json:"site"`
	Config portacl.Config `json:"config"`
}

const format = "switch lists 1"

// Encode writes down what of a state is ours.
func Encode(s driver.State) ([]byte, error) {
	st, err := stateOf(s)
	if err != nil {
		return nil, err
	}
	for _, l := range st.own().Lists {
		if len(l.Unknown) > 0 {
			return nil, fmt.Errorf("list %q has what is not understood, and cannot be written down exactly: %s", l.Name, l.Unknown[0])
		}
	}
	return json.Marshal(form{format, st.site, st.own()})
}

// Decode reads what Encode wrote.
func Decode(b []byte) (driver.State, error) {
	var f form
	if err := json.Unmarshal(b, &f); err != nil {
		return nil, fmt.Errorf("not a written state of a switch: %w", err)
	}
	if f.Format != format {
		return nil, fmt.Errorf("a state of a switch in the format %q; this program knows %q", f.Format, format)
	}
	if f.Site == "" {
		return nil, errors.New("a written state of a switch names no site")
	}
	s := &State{Config: f.Config, site: f.Site}
	s.Config.Sort()
	return s, nil
}
