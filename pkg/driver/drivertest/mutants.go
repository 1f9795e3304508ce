package drivertest

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

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
	for _, p := range f.Placements {
		for _, s := range []step{before(), after()} {
			b := newBench(t, f)
			now := b.play(t, p, s)
			o := newOracle(s.site.world(), p.Points(s.protects))
			d := b.decode(t, now)
			o.each(func(hook string, src, dst netip.Addr, service uint32, port uint16) bool {
				passes := b.s.Passes(now, hook, src, dst, service, port)
				if decoded := permits(d, hook, src, dst, service, port); decoded != passes {
					t.Fatalf("%s: %s: %s -> %s %s from port %d at %s: the device says %v, the decoder %v", p.Name, s.says, src, dst,
						packet.Services{{Lo: service, Hi: service}}, port, hook, passes, decoded)
				}
				return true
			})
		}
	}
}

func permits(d *driver.Decoded, hook string, src, dst netip.Addr, service uint32, port uint16) bool {
	for i := range d.Relations {
		r := &d.Relations[i]
		if r.Situation.Hook != hook || r.Situation.Tracking != driver.TrackNew || port < r.Situation.SrcPortLo || r.Situation.SrcPortHi < port {
			continue
		}
		in := func(a netip.Addr) func(packet.Addrs) bool {
			return func(set packet.Addrs) bool { return set.Contains(a) }
		}
		return r.Permit(slices.IndexFunc(r.Src, in(src)), slices.IndexFunc(r.Dst, in(dst))).Contains(service)
	}
	return false
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

// must says what has to happen to a packet at a hook.
func (o *oracle) must(hook string, src, dst netip.Addr, service uint32, port uint16) bool {
	for i := range o.points {
		p := &o.points[i]
		if p.Mode == policy.Observe || !slices.Contains(p.Hooks(), hook) || !p.Sees(hook, src, dst) {
			continue
		}
		h := compile.FlowHeader(hook, "", src, dst, port, port, false)
		if p.Essential(h).Contains(service) || p.FailsafeServices(h).Contains(service) {
			continue
		}
		if !o.world.Decide(policy.Flow{Src: src, Dst: dst, Proto: uint8(service >> 16), Num: uint16(service)}).Permit {
			return false
		}
	}
	return true
}

// each goes through the packets worth asking about that some point judges, until f
// has had enough.
func (o *oracle) each(f func(hook string, src, dst netip.Addr, service uint32, port uint16) bool) {
	for _, hook := range []string{compile.HookInput, compile.HookOutput} {
		for _, src := range o.addrs {
			for _, dst := range o.addrs {
				if src == dst || src.Is4() != dst.Is4() {
					continue
				}
				for _, service := range o.services {
					for _, port := range o.ports {
						if !f(hook, src, dst, service, port) {
							return
						}
					}
				}
			}
		}
	}
}

// Every way in which a renderer can be wrong is tried on its own output: an address
// too few, one too many, a port off by one, no IPv6, a missing rule, another
// action, a deny that comes too late, an empty list that became any, a default that
// allows. Each broken state is found by the proof with a packet that the device
// really treats otherwise than policy says; or it is no different, and then the
// enumeration of all ends of all intervals shows that.
func checkMutants(t testing.TB, f *Factory) {
	for _, p := range f.Placements {
		for _, s := range []step{before(), after()} {
			b := newBench(t, f)
			now := b.play(t, p, s)
			g := newGoal(t, s.site.world(), p.Points(s.protects))
			residue := b.render(t, g, now).Residue
			if len(residue) > 0 {
				continue // what the device does differs from policy before it is broken
			}
			j := jury{b: b, goal: g, oracle: newOracle(g.world, g.want.Points), count: map[string]*[3]int{}}
			for _, m := range b.s.Mutants(now) {
				j.judge(told{t, p.Name + ": " + m.Kind}, m)
			}
			t.Logf("%s, %s, %q:%s", f.Name, p.Name, s.says, j.report())
		}
	}
}

// jury judges mutants.
type jury struct {
	b      *bench
	goal   *goal
	oracle *oracle
	count  map[string]*[3]int // found, found by the strict comparison alone, equivalent
}

func (j *jury) judge(t tb, m Mutant) {
	t.Helper()
	if j.count[m.Kind] == nil {
		j.count[m.Kind] = &[3]int{}
	}
	d := j.b.decode(t, m.State)
	found := false
	for _, r := range prove.Device(j.goal.want.View.Matrix, j.goal.want.Points, d) {
		found = found || !r.Proved
		for i := range r.Wrong {
			j.witness(t, m, &r.Wrong[i])
		}
	}
	if found {
		j.count[m.Kind][0]++
		return
	}
	if difference(j.goal, d, nil) != "" {
		j.count[m.Kind][1]++
		return
	}
	j.count[m.Kind][2]++
	j.oracle.each(func(hook string, src, dst netip.Addr, service uint32, port uint16) bool {
		passes, must := j.b.s.Passes(m.State, hook, src, dst, service, port), j.oracle.must(hook, src, dst, service, port)
		if passes != must {
			t.Fatalf("not found: %s -> %s %s from port %d at %s passes is %v, and must be %v", src, dst,
				packet.Services{{Lo: service, Hi: service}}, port, hook, passes, must)
		}
		return true
	})
}

// witness demands that a counterexample is true: the device does what it says, and
// policy says the opposite.
func (j *jury) witness(t tb, m Mutant, c *prove.Counterexample) {
	t.Helper()
	port := c.Situation.SrcPortLo
	if j.b.s.Passes(m.State, c.Situation.Hook, c.Src, c.Dst, c.Service, port) != c.Passes {
		t.Fatalf("false witness: the device does not do this: %s", c)
	}
	if j.oracle.must(c.Situation.Hook, c.Src, c.Dst, c.Service, port) == c.Passes {
		t.Fatalf("false witness: policy says the same: %s", c)
	}
}

func (j *jury) report() string {
	var out []string
	for _, kind := range slices.Sorted(maps.Keys(j.count)) {
		n := j.count[kind]
		text := fmt.Sprintf("\n  %s: %d found, %d equivalent", kind, n[0], n[2])
		if n[1] > 0 {
			text += fmt.Sprintf(", %d found only where source ports are cut by the points", n[1])
		}
		out = append(out, text)
	}
	return strings.Join(out, "")
}
