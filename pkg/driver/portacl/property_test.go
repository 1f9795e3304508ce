package portacl_test

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"bulkhead/internal/tries"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/driver"
	"bulkhead/pkg/driver/portacl"
	"bulkhead/pkg/driver/portacl/acltest"
	"bulkhead/pkg/driver/portacl/decode"
	"bulkhead/pkg/driver/portacl/render"
	"bulkhead/pkg/packet"
	"bulkhead/pkg/policy"
	"bulkhead/pkg/policy/policytest"
	"bulkhead/pkg/prove"
)

// plant is a random site with devices on the ports of a switch.
type plant struct {
	world  *policy.World
	points []compile.Point
	m      *compile.Matrix
	f      render.Features
}

var places = []string{"10.0.0.1", "10.0.0.2/31", "2001:db8::1", "10.0.1.0", "2001:db8::4/127", "10.0.0.0/30"}

func drawPlant(t *rapid.T) *plant {
	p := &plant{world: policytest.World(t, policytest.Options{MaxAssets: 5, MaxGroups: 4, MaxPolicies: 6})}
	point := compile.Point{Name: "sw1", Mode: policy.Enforce, Endpoint: true, Ports: map[string]packet.Addrs{}, Off: map[string]bool{}}
	taken := packet.Addrs{}
	for i := range rapid.IntRange(1, 3).Draw(t, "ports") {
		var addrs packet.Addrs
		for _, a := range rapid.SliceOfNDistinct(rapid.SampledFrom(places), 1, 2, rapid.ID[string]).Draw(t, "on a port") {
			addrs = addrs.Union(setOf(a))
		}
		if addrs = addrs.Subtract(taken); !addrs.IsEmpty() {
			point.Ports[fmt.Sprintf("swp%d", i+1)] = addrs
			taken = taken.Union(addrs)
		}
	}
	point.Protects = taken
	for _, name := range []string{compile.EssentialDHCP, compile.EssentialND, compile.EssentialMLD, compile.EssentialIGMP} {
		point.Off[name] = rapid.Bool().Draw(t, name)
	}
	if rapid.Bool().Draw(t, "failsafe") {
		point.Failsafe = []compile.Failsafe{{From: setOf("10.0.1.0"), To: taken, Services: packet.ServicesOf([]policy.Range{{Proto: 6, Lo: 22, Hi: 22}})}}
	}
	p.points = []compile.Point{point}
	var err error
	if p.m, err = compile.Compile(compile.Input{Assets: p.world.Assets, Book: p.world.Book, Where: p.world.Where, Now: p.world.Now}); err != nil {
		t.Fatal(err)
	}
	p.f = render.Features{OneList: rapid.Bool().Draw(t, "one list"), Later: rapid.Bool().Draw(t, "later"), Out: rapid.Bool().Draw(t, "out"),
		Strangers: rapid.Bool().Draw(t, "strangers"), ByClass: rapid.Bool().Draw(t, "by class")}
	if rapid.Bool().Draw(t, "mute") {
		p.f.Mute = func(four bool) packet.Services {
			other, own := uint32(1), uint32(58)
			if four {
				other, own = 58, 1
			}
			return packet.Services{{Lo: other << 16, Hi: other<<16 | 0xffff}}.Union(packet.Services{{Lo: own<<16 | 4<<8, Hi: own<<16 | 4<<8 | 0xff}, {Lo: own<<16 | 129<<8, Hi: own<<16 | 0xffff}})
		}
	}
	if rapid.Bool().Draw(t, "blind") {
		p.f.Blind = []int{33, 132, 136}
	}
	return p
}

func setOf(s string) packet.Addrs {
	if a, err := netip.ParseAddr(s); err == nil {
		return packet.AddrsOf(netip.PrefixFrom(a, a.BitLen()))
	}
	return packet.AddrsOf(netip.MustParsePrefix(s))
}

func (p *plant) render(t interface {
	Fatalf(string, ...any)
	Helper()
}) *render.Result {
	t.Helper()
	r, err := render.Render("plant", compile.NewView(p.m, p.points), p.points, p.f)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return r
}

// What is rendered is what policy says but for the residue, of which nothing can be left out;
// and one entry less, more, or turned is found.
func TestListsAreProved(t *testing.T) {
	broken, missed := 0, 0
	tries.Check(t, func(rt *rapid.T) {
		p := drawPlant(rt)
		r := p.render(rt)
		d := decode.Decode(&r.Config)
		for _, res := range prove.Device(p.m, p.points, d, r.Residue...) {
			if !res.Proved {
				rt.Fatalf("not proved: %v %v\n%s", res.Wrong, res.Findings, show(&r.Config))
			}
		}
		for _, x := range r.Residue {
			if x.Kind == render.KindInbound && p.f.Out {
				rt.Fatalf("residue %q, and lists of what is received: %v", x.Kind, p.f.Out)
			}
		}
		if n := total(r.Residue); n > 0 {
			at := rapid.IntRange(0, n-1).Draw(rt, "leave out")
			if proved(p, d, without(r.Residue, at)) {
				rt.Fatalf("residue %d of %d is none:\n%s", at, n, show(&r.Config))
			}
		}
		// Break something.
		if len(r.Config.Lists) == 0 {
			return
		}
		c := r.Config.Clone()
		l := &c.Lists[rapid.IntRange(0, len(c.Lists)-1).Draw(rt, "list")]
		i := rapid.IntRange(0, len(l.Entries)-1).Draw(rt, "entry")
		if rapid.Bool().Draw(rt, "turn") {
			l.Entries[i].Permit = !l.Entries[i].Permit
		} else {
			l.Entries = slices.Delete(l.Entries, i, i+1)
		}
		broken++
		if !proved(p, decode.Decode(&c), r.Residue) {
			return
		}
		missed++
		p.eachPacket(rt, func(port string, dir portacl.Direction, x acltest.Packet) {
			if a, b := acltest.Passes(&r.Config, port, dir, x), acltest.Passes(&c, port, dir, x); a != b && p.matters(dir, port, x) && !p.unsaid(r, dir, port, x) {
				rt.Fatalf("entry %d of %q was broken, and the proof found nothing: %+v passed: %v, passes: %v\n%s", i, l.Name, x, a, b, show(&c))
			}
		})
	})
	t.Logf("%d lists were broken, %d of them without a difference", broken, missed)
}

// Packets that open flows pass as the reference evaluator says, and answers where their flow
// may.
func TestListsAreDecide(t *testing.T) {
	tries.Check(t, func(rt *rapid.T) {
		p := drawPlant(rt)
		r := p.render(rt)
		p.eachPacket(rt, func(port string, dir portacl.Direction, x acltest.Packet) {
			if !p.matters(dir, port, x) {
				return
			}
			passes := acltest.Passes(&r.Config, port, dir, x)
			must, may := p.says(dir, x)
			if must && !passes {
				rt.Fatalf("%s %s drops %+v\n%s", port, dir, x, show(&r.Config))
			}
			if passes && !may {
				rt.Fatalf("%s %s lets %+v pass\n%s", port, dir, x, show(&r.Config))
			}
		})
	})
}

func show(c *portacl.Config) string {
	out := ""
	for _, p := range c.Ports {
		out += fmt.Sprintf("port %s %v\n", p.Name, p.Bound)
	}
	for _, l := range c.Lists {
		out += l.Name + "\n"
		for _, e := range l.Entries {
			out += "  " + e.Name + " " + e.String() + "\n"
		}
	}
	return out
}

func proved(p *plant, d *driver.Decoded, residue []driver.Residue) bool {
	return !slices.ContainsFunc(prove.Device(p.m, p.points, d, residue...), func(r prove.Result) bool { return !r.Proved })
}

func total(all []driver.Residue) (n int) {
	for i := range all {
		n += len(all[i].Flows)
	}
	return n
}

// without leaves one set of flows out.
func without(all []driver.Residue, at int) []driver.Residue {
	out := slices.Clone(all)
	for i := range out {
		if at < len(out[i].Flows) && at >= 0 {
			out[i].Flows = slices.Delete(slices.Clone(out[i].Flows), at, at+1)
		}
		at -= len(all[i].Flows)
	}
	return out
}

// matters reports whether a packet comes by a port in a direction, from or to somebody who
// hangs there, and is not filtered elsewhere.
func (p *plant) matters(dir portacl.Direction, port string, x acltest.Packet) bool {
	here := p.points[0].Ports[port]
	if dir == portacl.In {
		return here.Contains(x.Src)
	}
	return (here.Contains(x.Dst) || compile.Multicast().Contains(x.Dst)) && (p.f.Out || !p.points[0].Protects.Contains(x.Src))
}

// says tells what must pass and what may, by the reference evaluator and the point's overlays.
func (p *plant) says(dir portacl.Direction, x acltest.Packet) (must, may bool) {
	num := x.DstPort
	if packet.IsICMP(x.Proto) {
		num = uint16(x.Type)<<8 | uint16(x.Code)
	} else if !packet.HasPorts(x.Proto) {
		num = 0
	}
	opens := func(src, dst netip.Addr, num, from uint16, any bool) bool {
		if p.world.Decide(policy.Flow{Src: src, Dst: dst, Proto: x.Proto, Num: num}).Permit {
			return true
		}
		lo, hi := from, from
		if any {
			lo, hi = 0, 65535
		}
		h := compile.FlowHeader(compile.HookInput, "", src, dst, lo, hi, false)
		return p.points[0].Essential(h).Union(p.points[0].FailsafeServices(h)).Contains(packet.Point(x.Proto, num))
	}
	group := compile.Multicast().Contains(x.Dst) || compile.Multicast().Contains(x.Src)
	if slices.Contains(p.f.Blind, int(x.Proto)) {
		return false, true // looked at by the proof alone
	}
	if p.f.Mute != nil && packet.IsICMP(x.Proto) {
		return false, true
	}
	must = opens(x.Src, x.Dst, num, x.SrcPort, false)
	answers := false
	switch {
	case group:
	case x.Proto == 6 && !x.Ack: // opens, and answers nothing
	case packet.HasPorts(x.Proto):
		answers = opens(x.Dst, x.Src, x.SrcPort, 0, true)
	case !packet.IsICMP(x.Proto):
		answers = opens(x.Dst, x.Src, 0, 0, true)
	}
	if answers {
		must = true
	}
	may = must
	if dir == portacl.Out && !p.f.Out {
		may = true
	}
	if packet.IsICMP(x.Proto) && !group { // replies and errors: looked at by the proof alone
		may = true
	}
	return must, may
}

// unsaid reports whether the residue speaks of a packet, so that the proof admits either.
func (p *plant) unsaid(r *render.Result, dir portacl.Direction, _ string, x acltest.Packet) bool {
	hook := map[portacl.Direction]string{portacl.In: compile.HookOutput, portacl.Out: compile.HookInput}[dir]
	t := driver.TrackNew
	switch {
	case x.Later:
		t = driver.TrackLater
	case x.Ack:
		t = driver.TrackMid
	}
	num := x.DstPort
	if packet.IsICMP(x.Proto) {
		num = uint16(x.Type)<<8 | uint16(x.Code)
	}
	for i := range r.Residue {
		for _, f := range r.Residue[i].Flows {
			if f.Hook == hook && (f.Tracking == "" || f.Tracking == t) && f.Src.Contains(x.Src) && f.Dst.Contains(x.Dst) &&
				f.SrcPortLo <= x.SrcPort && x.SrcPort <= f.SrcPortHi && f.Services.Contains(packet.Point(x.Proto, num)) {
				return true
			}
		}
	}
	return false
}

// eachPacket goes through packets that are worth asking about.
func (p *plant) eachPacket(t *rapid.T, f func(port string, dir portacl.Direction, x acltest.Packet)) {
	addrs := policytest.Addresses(p.world)
	for _, a := range []string{"224.0.0.1", "ff02::1", "10.0.0.2", "2001:db8::4"} {
		addrs = append(addrs, netip.MustParseAddr(a))
	}
	var nums []acltest.Packet
	for _, s := range policytest.Services(p.world) {
		x := acltest.Packet{Proto: uint8(s[0]), DstPort: s[1], SrcPort: 40000}
		if packet.IsICMP(x.Proto) {
			x.Type, x.Code, x.DstPort, x.SrcPort = uint8(s[1]>>8), uint8(s[1]), 0, 0
			nums = append(nums, x)
			continue
		}
		if !packet.HasPorts(x.Proto) {
			x.DstPort, x.SrcPort = 0, 0
			nums = append(nums, x)
			continue
		}
		back := x
		back.SrcPort, back.DstPort = x.DstPort, 40000
		nums = append(nums, x, back)
		if x.Proto == 6 {
			x.Ack, back.Ack = true, true
			nums = append(nums, x, back)
		}
	}
	for port := range p.points[0].Ports {
		for _, dir := range []portacl.Direction{portacl.In, portacl.Out} {
			for _, src := range addrs {
				for _, dst := range addrs {
					if src == dst || src.Is4() != dst.Is4() || src.IsUnspecified() || compile.Multicast().Contains(src) {
						continue
					}
					for _, x := range nums {
						x.Src, x.Dst = src, dst
						f(port, dir, x)
					}
				}
			}
		}
	}
}
