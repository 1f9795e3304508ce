// Package render makes the lists of a switch's ports out of what its points ask for.
//
// A list on a port filters what its device sends (portacl.In) and, where the switch can, what
// it receives (portacl.Out). Lists keep no state: what answers a permitted flow needs entries
// of its own, and those let more pass than policy says. That is worked out exactly, and told
// as residue.
package render

import (
	"fmt"
	"slices"

	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/driver/want"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
)

// Features say what lists of a switch can do, and how they are to be used.
type Features struct {
	// OneList has a list see both families; else each family has a list of its own.
	OneList bool
	// Later lets an entry match fragments but the first.
	Later bool
	// Blind lists protocols that have ports which entries cannot look at.
	Blind []int
	// Mute gives the ICMP messages of a family that entries cannot name; nil for none.
	Mute func(four bool) packet.Services
	// Out has lists filter what devices receive, too.
	Out bool
	// Strangers lets pass what comes in by a port from addresses that are not known to hang on
	// it. Else that is dropped, but for what a device needs to get an address.
	Strangers bool
	// ByClass gives ports whose devices are of the same classes one list, which takes any of
	// their addresses for a source on any of these ports.
	ByClass bool
}

// Result is the lists that enforce what is asked for, with their bindings.
type Result struct {
	Config  portacl.Config
	Residue []driver.Residue
	// Longest is the most entries of one list; Entries are those of all lists, Bound those of
	// all bindings: what a device needs that keeps a copy for each port.
	Longest, Entries, Bound int
	// Ports counts the ports that have lists. Shared are those with devices that policy treats
	// differently: what these send to each other need not come by the switch.
	Ports  int
	Shared []string
}

// The kinds of residue.
const (
	// KindReturn: what answers flows passes without a flow.
	KindReturn = "stateless-return"
	// KindInbound: what nobody filters on its way in.
	KindInbound = "one-way-inbound"
	// KindFragment: pieces of packets cannot be told apart, or not be told at all.
	KindFragment = "fragment"
	// KindMessage: an ICMP message is permitted that lists cannot name.
	KindMessage = "icmp-message"
	// KindPorts: some ports pass of a protocol whose ports lists cannot look at.
	KindPorts = "protocol-ports"
)

// texts say what each kind is: narrower, wider.
var texts = map[string][2]string{
	KindReturn:  {"", "lists keep no state: answers pass without a question, of TCP those segments that open nothing (ACK or RST), of other protocols whatever comes from the port that is asked; and so do ICMP errors between those who may talk"},
	KindInbound: {"", "lists filter what devices send and not what they receive: what comes from elsewhere reaches them, and they cannot answer"},
	KindMessage: {"ICMP messages that lists of this model have no name for, those of the other family among them, are dropped where not all of ICMP passes", ""},
	KindPorts:   {"some ports of SCTP, DCCP or UDP-Lite are permitted; lists of this model know no ports of them, and drop all", ""},
	KindFragment: {"fragments but the first have no ports, and this switch cannot tell them: they are dropped, but for protocols that pass as a whole",
		"fragments but the first have no ports: they pass wherever something of their protocol does. Without the first no packet comes of them"},
}

// Render makes the lists. Points that observe ask for nothing: a list cannot count without
// dropping.
func Render(site string, view *compile.View, points []compile.Point, f Features) (*Result, error) {
	out := &Result{}
	if len(points) == 0 {
		return out, nil
	}
	x := newFabric(view, points, f)
	for _, u := range x.lists() {
		if err := x.bind(out, site, u); err != nil {
			return nil, err
		}
	}
	out.Config.Sort()
	for i := range out.Config.Lists {
		n := len(out.Config.Lists[i].Entries)
		out.Longest, out.Entries = max(out.Longest, n), out.Entries+n
	}
	for i := range out.Config.Ports {
		for _, b := range out.Config.Ports[i].Bound {
			out.Bound += len(out.Config.List(b.List).Entries)
		}
	}
	out.Ports = len(out.Config.Ports)
	for n, u := range x.ports {
		if len(x.classes(n)) > 1 {
			out.Shared = append(out.Shared, u.ports...)
		}
	}
	var err error
	out.Residue, err = x.residue()
	return out, err
}

// bind makes the lists of a unit, and binds them to its ports.
func (x *fabric) bind(out *Result, site string, u *unit) error {
	families := []portacl.Family{portacl.IPv4, portacl.IPv6}
	if x.f.OneList {
		families = []portacl.Family{portacl.Both}
	}
	dirs := []portacl.Direction{portacl.In}
	if x.f.Out {
		dirs = append(dirs, portacl.Out)
	}
	for _, dir := range dirs {
		for _, family := range families {
			l := portacl.List{Family: family, Entries: x.entries(u, dir, family)}
			var err error
			if l.Name, err = portacl.Name(site, u.points, &l, dir); err != nil {
				return fmt.Errorf("%w: port %q: %w", driver.ErrRefused, u.ports[0], err)
			}
			if out.Config.List(l.Name) == nil {
				out.Config.Lists = append(out.Config.Lists, l)
			}
			for _, name := range u.ports {
				p := out.Config.Port(name)
				if p == nil {
					out.Config.Ports = append(out.Config.Ports, portacl.Port{Name: name})
					p = &out.Config.Ports[len(out.Config.Ports)-1]
				}
				p.Bound = append(p.Bound, portacl.Bound{Dir: dir, Family: family, List: l.Name})
			}
		}
	}
	return nil
}

// fabric is a switch's ports with what is asked of them.
type fabric struct {
	w     *want.Ends
	f     Features
	ports []*unit
	at    [][]int // part -> ports that hold it
	runs  []want.Ports

	floors map[[2]int]packet.Services
	pairs  map[[2]int]int // (source, destination) -> its shape
	shapes []*shape
	index  map[string]int
}

// unit is ports that share lists.
type unit struct {
	ports  []string
	addrs  packet.Addrs
	points []string
}

func newFabric(view *compile.View, points []compile.Point, f Features) *fabric {
	x := &fabric{f: f, floors: map[[2]int]packet.Services{}, pairs: map[[2]int]int{}, index: map[string]int{}}
	byName := map[string]*unit{}
	for i := range points {
		p := &points[i]
		if !p.Endpoint || p.Mode == policy.Observe {
			continue
		}
		for name, addrs := range p.Ports {
			addrs = addrs.Intersect(p.Protects)
			if addrs.IsEmpty() {
				continue
			}
			u := byName[name]
			if u == nil {
				u = &unit{ports: []string{name}}
				byName[name] = u
				x.ports = append(x.ports, u)
			}
			u.addrs = u.addrs.Union(addrs)
			u.points = append(u.points, p.Name)
		}
	}
	slices.SortFunc(x.ports, func(a, b *unit) int { return slices.Compare(a.ports, b.ports) })
	var sets []packet.Addrs
	for _, u := range x.ports {
		slices.Sort(u.points)
		sets = append(sets, u.addrs)
	}
	x.w = want.NewEnds(view, points, sets)
	x.at = make([][]int, len(x.w.Parts))
	for part := range x.w.Parts {
		for n, u := range x.ports {
			if u.addrs.Contains(x.w.Parts[part].First()) {
				x.at[part] = append(x.at[part], n)
			}
		}
	}
	x.cutRuns()
	return x
}

// lists gives the ports that share lists: each alone, or those whose devices are of the same
// classes and points.
func (x *fabric) lists() []*unit {
	if !x.f.ByClass {
		return x.ports
	}
	var out []*unit
	index := map[string]*unit{}
	for n, u := range x.ports {
		key := fmt.Sprint(u.points, x.classes(n))
		if same := index[key]; same != nil {
			same.ports, same.addrs = append(same.ports, u.ports...), same.addrs.Union(u.addrs)
			continue
		}
		one := &unit{ports: slices.Clone(u.ports), addrs: u.addrs, points: u.points}
		index[key] = one
		out = append(out, one)
	}
	return out
}

// classes lists the classes of a port's devices: equal for ports whose devices are treated
// alike.
func (x *fabric) classes(port int) []int {
	var out []int
	for part := range x.w.Parts {
		if slices.Contains(x.at[part], port) {
			out = append(out, x.w.Class(part))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// cutRuns cuts the source ports where something that passes depends on them: overlays, and
// what answers flows to or from the ports' devices.
func (x *fabric) cutRuns() {
	starts := []int{0}
	for _, r := range x.w.Runs {
		starts = append(starts, int(r.Lo))
	}
	seen := map[*packet.Span]int{} // sets that were looked at, by where they lie and how long they are
	for own := range x.w.Parts {
		if len(x.at[own]) == 0 {
			continue
		}
		for peer := range x.w.Parts {
			if x.w.Four(own) != x.w.Four(peer) {
				continue
			}
			for _, s := range []packet.Services{x.floor(own, peer), x.floor(peer, own)} {
				if len(s) > 0 && seen[&s[0]] != len(s) {
					seen[&s[0]] = len(s)
					starts = append(starts, portStarts(s)...)
				}
			}
		}
	}
	slices.Sort(starts)
	starts = slices.Compact(starts)
	for i, lo := range starts {
		hi := 65535
		if i+1 < len(starts) {
			hi = starts[i+1] - 1
		}
		if lo <= 65535 {
			x.runs = append(x.runs, want.Ports{Lo: uint16(lo), Hi: uint16(min(hi, 65535))})
		}
	}
}

func portStarts(s packet.Services) []int {
	var out []int
	for _, p := range want.Pieces(s) {
		if packet.HasPorts(p.ProtoLo) || packet.HasPorts(p.ProtoHi) || p.ProtoHi-p.ProtoLo > 1 {
			out = append(out, int(p.Lo), int(p.Hi)+1)
		}
	}
	return out
}

// floor is what may be opened between two parts from every source port.
func (x *fabric) floor(src, dst int) packet.Services {
	key := [2]int{src, dst}
	if s, ok := x.floors[key]; ok {
		return s
	}
	out := packet.AllServices()
	for _, r := range x.w.Runs {
		out = out.Intersect(x.opens(src, dst, r))
	}
	x.floors[key] = out
	return out
}

// opens is what may be opened between two parts from a run of source ports. The hook is the
// one that judges what is sent to groups, too.
func (x *fabric) opens(src, dst int, run want.Ports) packet.Services {
	return x.w.Exact(compile.HookInput, src, dst, run)
}
