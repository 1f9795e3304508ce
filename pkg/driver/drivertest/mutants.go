package drivertest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// The decoder is held against the device itself, packet by packet: at every end
// of every interval of the site, and its neighbours. A decoder that is wrong in
// the same way as the renderer proves everything.
func checkDecoder(t testing.TB, f *Factory) {
	for _, p := range tries.Some(f.Placements) {
		for _, s := range tries.Some([]step{f.before(), f.after()}) {
			b := newBench(t, f)
			now := b.play(t, p, s)
			o := newOracle(s.site.world(), p.Points(s.protects))
			d := b.decode(t, now)
			o.each(func(hook string, src, dst netip.Addr) {
				port, comes := portAt(p.Points(s.protects), d, hook, src, dst)
				if !comes {
					return
				}
				device, decoded := b.s.passes(now, hook, port, src, dst), permits(d, hook, port, src, dst)
				if text := o.differ(device, decoded); text != "" {
					t.Fatalf("%s: %s: %s -> %s %s at %s: the decoder says otherwise", p.Name, s.says, src, dst, text, hook)
				}
			})
		}
	}
}

// passes is what the device does at a port, or at its only place.
func (s *Subject) passes(st driver.State, hook, port string, src, dst netip.Addr) func(uint32, uint16) bool {
	if s.PassesAt != nil {
		return s.PassesAt(st, hook, port, src, dst)
	}
	return s.Passes(st, hook, src, dst)
}

// portAt names the port that packets between two addresses go through in the direction of a
// hook, if they do; "" on devices without ports.
func portAt(points []compile.Point, d *driver.Decoded, hook string, src, dst netip.Addr) (port string, comes bool) {
	at, asked := []*compile.Point{}, false
	ports := map[string]bool{}
	for i := range points {
		at, asked = append(at, &points[i]), asked || points[i].Ports != nil
		for name := range points[i].Ports {
			ports[name] = true
		}
	}
	if !asked {
		return "", true
	}
	for _, name := range slices.Sorted(maps.Keys(ports)) {
		s := driver.Situation{Hook: hook, Port: name}
		open := !slices.ContainsFunc(d.Relations, func(r driver.Relation) bool { return r.Situation.Hook == hook && r.Situation.Port == name && !r.Open })
		if comesBy(at, s, open, src, dst) {
			return name, true
		}
	}
	return "", false
}

func permits(d *driver.Decoded, hook, at string, src, dst netip.Addr) func(uint32, uint16) bool {
	part := func(parts []packet.Addrs, a netip.Addr) int {
		return slices.IndexFunc(parts, func(set packet.Addrs) bool { return set.Contains(a) })
	}
	sets := map[*driver.Relation]packet.Services{}
	if !slices.ContainsFunc(d.Relations, func(r driver.Relation) bool { return r.Situation.Hook == hook && r.Situation.Port == at }) {
		at = ""
	}
	for i := range d.Relations {
		if r := &d.Relations[i]; r.Situation.Hook == hook && r.Situation.Port == at && r.Situation.Tracking == driver.TrackNew {
			sets[r] = r.Permit(part(r.Src, src), part(r.Dst, dst))
		}
	}
	return func(service uint32, port uint16) bool {
		for r, s := range sets {
			if r.Situation.SrcPortLo <= port && port <= r.Situation.SrcPortHi {
				return s.Contains(service)
			}
		}
		return false
	}
}

// oracle is the truth about single packets: the reference evaluator and the
// points' overlays, without compiler, matrix or proof.
type oracle struct {
	world    *policy.World
	points   []compile.Point
	addrs    []netip.Addr
	services []uint32
	ports    []uint16
}

func newOracle(w *policy.World, points []compile.Point) *oracle {
	o := &oracle{world: w, points: points, ports: []uint16{68, 40000}}
	for i := range points {
		if p := &points[i]; !p.Off[compile.EssentialDHCP] || len(p.Failsafe) > 0 {
			o.ports = []uint16{22, 23, 40000, 67, 68, 546, 547}
		}
	}
	set := map[netip.Addr]bool{}
	for _, a := range policytest.Addresses(w) {
		set[a] = true
	}
	for _, a := range []string{"224.0.0.1", "255.255.255.255", "ff02::1"} {
		set[netip.MustParseAddr(a)] = true
	}
	for a := range set {
		if !a.IsLoopback() && a != netip.IPv4Unspecified() && a != netip.IPv6Unspecified() {
			o.addrs = append(o.addrs, a)
		}
	}
	slices.SortFunc(o.addrs, netip.Addr.Compare)
	for _, s := range policytest.Services(w) {
		o.services = append(o.services, packet.Point(uint8(s[0]), s[1]))
	}
	o.services = append(o.services, packet.Point(17, 67), packet.Point(17, 68), packet.Point(17, 546), packet.Point(17, 547),
		packet.Point(58, 133<<8), packet.Point(58, 137<<8), packet.Point(58, 138<<8), packet.Point(58, 143<<8), packet.Point(2, 0), packet.Point(2, 65535),
		packet.Point(0, 0), packet.Point(255, 65535), packet.Point(1, 3<<8|4))
	slices.Sort(o.services)
	o.services = slices.Compact(o.services)
	return o
}

// must says what has to happen to packets between two addresses at a hook.
func (o *oracle) must(hook string, src, dst netip.Addr) func(service uint32, port uint16) bool {
	var judges []*compile.Point
	for i := range o.points {
		if p := &o.points[i]; p.Mode != policy.Observe && slices.Contains(p.Hooks(), hook) && p.Sees(hook, src, dst) {
			judges = append(judges, p)
		}
	}
	decided := map[uint32]bool{}
	for _, s := range o.services {
		decided[s] = len(judges) == 0 || o.decide(src, dst, s)
	}
	return func(service uint32, port uint16) bool {
		permit, known := decided[service]
		if !known {
			permit = o.decide(src, dst, service) // a witness of its own
		}
		for _, p := range judges {
			h := compile.FlowHeader(hook, "", src, dst, port, port, false)
			if !permit && !p.Essential(h).Contains(service) && !p.FailsafeServices(h).Contains(service) {
				return false
			}
		}
		return true
	}
}

func (o *oracle) decide(src, dst netip.Addr, service uint32) bool {
	return o.world.Decide(policy.Flow{Src: src, Dst: dst, Proto: uint8(service >> 16), Num: uint16(service)}).Permit
}

// each goes through the pairs of addresses worth asking about.
func (o *oracle) each(f func(hook string, src, dst netip.Addr)) {
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for _, src := range o.addrs {
			for _, dst := range o.addrs {
				if src != dst && src.Is4() == dst.Is4() {
					f(hook, src, dst)
				}
			}
		}
	}
}

// differ finds a service and a source port at which two judges disagree.
func (o *oracle) differ(a, b func(service uint32, port uint16) bool) string {
	for _, service := range o.services {
		for _, port := range o.ports {
			if x := a(service, port); x != b(service, port) {
				return fmt.Sprintf("%s from port %d passes is %v", packet.Services{{Lo: service, Hi: service}}, port, x)
			}
		}
	}
	return ""
}

// Every way in which a renderer can be wrong is tried on its own output: an address
// too few, one too many, a port off by one, no IPv6, a missing rule, another
// action, a deny that comes too late, an empty list that became any, a default that
// allows. Each broken state is found by the proof with a packet that the device
// really treats otherwise than policy says; or it is no different, and then the
// enumeration of all ends of all intervals shows that.
func checkMutants(t testing.TB, f *Factory) {
	for _, p := range tries.Some(f.Placements) {
		for _, s := range tries.Some([]step{f.before(), f.after()}) {
			b := newBench(t, f)
			now := b.play(t, p, s)
			g := newGoal(t, s.site.world(), p.Points(s.protects))
			residue := b.render(t, g, now).Residue
			if !f.inherent(residue) {
				continue // what the device does differs from policy before it is broken
			}
			j := jury{b: b, goal: g, residue: residue, oracle: newOracle(g.world, g.want.Points), must: map[pair]func(uint32, uint16) bool{}, count: map[string]*[2]int{}}
			for _, m := range tries.Some(b.s.Mutants(now)) {
				j.judge(told{t, p.Name + ": " + m.Kind}, m)
			}
			t.Logf("%s, %s, %q:%s", f.Name, p.Name, s.says, j.report())
		}
	}
}

// jury judges mutants.
type jury struct {
	b       *bench
	goal    *goal
	residue []driver.Residue // that is inherent
	oracle  *oracle
	must    map[pair]func(uint32, uint16) bool
	count   map[string]*[2]int // found, equivalent
}

func (j *jury) judge(t tb, m Mutant) {
	t.Helper()
	if j.count[m.Kind] == nil {
		j.count[m.Kind] = &[2]int{}
	}
	d := j.b.decode(t, m.State)
	found := false
	for _, r := range prove.Device(j.goal.want.View.Matrix, j.goal.want.Points, d, j.residue...) {
		found = found || !r.Proved
		for i := range r.Wrong {
			j.witness(t, m, &r.Wrong[i])
		}
	}
	if found {
		j.count[m.Kind][0]++
		return
	}
	if diff := difference(j.goal, d, j.residue); diff != "" {
		t.Fatalf("%s: the proof misses what a strict comparison finds: %s", m.Kind, diff)
	}
	j.count[m.Kind][1]++
	j.oracle.each(func(hook string, src, dst netip.Addr) {
		port, comes := portAt(j.goal.want.Points, d, hook, src, dst)
		if !comes {
			return
		}
		key := pair{hook, src, dst}
		must, known := j.must[key]
		if !known {
			must = j.accepted(hook, src, dst, j.oracle.must(hook, src, dst))
			j.must[key] = must
		}
		if text := j.oracle.differ(j.b.s.passes(m.State, hook, port, src, dst), must); text != "" {
			t.Fatalf("not found: %s -> %s %s at %s, and must not be", src, dst, text, hook)
		}
	})
}

// pair is two addresses at a hook.
type pair struct {
	hook     string
	src, dst netip.Addr
}

// accepted is what must happen, but for the residue: of its flows what does happen on the
// unbroken device, which is what it says.
func (j *jury) accepted(hook string, src, dst netip.Addr, must func(uint32, uint16) bool) func(uint32, uint16) bool {
	var flows []driver.Flows
	wider := map[int]bool{}
	for _, r := range j.residue {
		for _, f := range r.Flows {
			if f.Hook == hook && (f.Tracking == "" || f.Tracking == driver.TrackNew) && f.Src.Contains(src) && f.Dst.Contains(dst) {
				wider[len(flows)] = r.Wider
				flows = append(flows, f)
			}
		}
	}
	return func(service uint32, port uint16) bool {
		for i, f := range flows {
			if f.SrcPortLo <= port && port <= f.SrcPortHi && f.Services.Contains(service) {
				return wider[i]
			}
		}
		return must(service, port)
	}
}

// witness demands that a counterexample is true: the device does what it says, and
// policy says the opposite.
func (j *jury) witness(t tb, m Mutant, c *prove.Counterexample) {
	t.Helper()
	port := c.Situation.SrcPortLo
	if t := c.Situation.Tracking; t == driver.TrackMid || t == driver.TrackLater {
		return // Passes is about first packets
	}
	if j.b.s.passes(m.State, c.Situation.Hook, c.Situation.Port, c.Src, c.Dst)(c.Service, port) != c.Passes {
		t.Fatalf("false witness: the device does not do this: %s", c)
	}
	if !c.Answer && j.oracle.must(c.Situation.Hook, c.Src, c.Dst)(c.Service, port) == c.Passes {
		t.Fatalf("false witness: policy says the same: %s", c)
	}
}

func (j *jury) report() string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(j.count)) {
		n := j.count[kind]
		text := fmt.Sprintf("\n  %s: %d found, %d equivalent", kind, n[0], n[1])
		out = append(out, text)
	}
	return strings.Join(out, "")
}
