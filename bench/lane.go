package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os/exec"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"bulkhead/bench/estate"
	"bulkhead/bench/harness"
	"bulkhead/drivers/nftables/kernel"
	"bulkhead/drivers/nftables/render"
	"bulkhead/pkg/compile"
	"bulkhead/pkg/lab"
)

// lane is a gateway between a sender and a receiver of its own.
type lane struct {
	name        string
	net         *lab.Net
	left, right *sender
	kernel      *deferred
	masks       [2][]netip.Prefix
	// Frames: over established flows there and back, and such that the gateway's
	// interface gets and nobody takes.
	there, back, unseen [][]byte
	scratch             [][]byte // frames of new flows
	denied              [][]byte
}

// Source ports: of established flows, and the first ones of new ones.
const (
	establishedPort = 10_000
	freshPort       = 20_000
	deniedPort      = 40_000
)

// The two ends of a lane. Their addresses are none of the sites'.
func laneTopology() lab.Topology {
	p := netip.MustParsePrefix
	segment := func(name, iface, mac string, gateway, host []netip.Prefix) lab.Segment {
		return lab.Segment{Name: name, Interface: iface, Addresses: gateway, Hosts: []lab.Host{{Name: name, MAC: mac, Addresses: host}}}
	}
	return lab.Topology{Segments: []lab.Segment{
		segment("left", "eth1", "02:00:00:00:00:01", []netip.Prefix{p("192.0.2.1/30"), p("2001:db8:ffff::1/64")}, []netip.Prefix{p("192.0.2.2/30"), p("2001:db8:ffff::2/64")}),
		segment("right", "eth2", "02:00:00:00:00:02", []netip.Prefix{p("192.0.2.5/30"), p("2001:db8:fffe::1/64")}, []netip.Prefix{p("192.0.2.6/30"), p("2001:db8:fffe::2/64")}),
	}}
}

// newLane builds the three namespaces and everything that will be sent.
func newLane(name string, t *traffic) (*lane, error) {
	n, err := lab.Build(laneTopology())
	if err != nil {
		return nil, err
	}
	l := &lane{name: name, net: n, kernel: newDeferred(), masks: t.masks}
	var macs [2]net.HardwareAddr
	err = n.Gateway.Do(func() error {
		for i, iface := range []string{"eth1", "eth2"} {
			link, err := netlink.LinkByName(iface)
			if err != nil {
				return err
			}
			macs[i] = link.Attrs().HardwareAddr
			if err := routes(link, laneTopology().Segments[i].Hosts[0], t.masks[i]); err != nil {
				return fmt.Errorf("route by %q: %w", iface, err)
			}
		}
		return nil
	})
	for i, s := range []**sender{&l.left, &l.right} {
		if err == nil {
			err = n.Host([]string{"left", "right"}[i]).Do(func() (err error) {
				*s, err = newSender("eth0")
				return err
			})
		}
	}
	if err != nil {
		return nil, errors.Join(err, n.Close())
	}
	l.write(t, macs)
	return l, nil
}

func (l *lane) close() {
	for _, s := range []*sender{l.left, l.right} {
		if s != nil {
			s.close()
		}
	}
	_ = l.net.Close() // the sandbox takes the rest with it
}

// routes leads masks to the host behind an interface, and says once and for all
// which its hardware address is: the kernel must not ask while packets are timed.
func routes(link netlink.Link, h lab.Host, masks []netip.Prefix) error {
	mac, err := net.ParseMAC(h.MAC)
	if err != nil {
		return err
	}
	via := map[bool]net.IP{}
	for _, a := range h.Addresses {
		via[a.Addr().Is4()] = a.Addr().AsSlice()
		n := &netlink.Neigh{LinkIndex: link.Attrs().Index, IP: a.Addr().AsSlice(), HardwareAddr: mac, State: netlink.NUD_PERMANENT}
		if err := netlink.NeighSet(n); err != nil {
			return fmt.Errorf("name the neighbour %s: %w", a.Addr(), err)
		}
	}
	for _, m := range masks {
		dst := &net.IPNet{IP: m.Addr().AsSlice(), Mask: net.CIDRMask(m.Bits(), m.Addr().BitLen())}
		if err := netlink.RouteAdd(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: dst, Gw: via[m.Addr().Is4()]}); err != nil {
			return fmt.Errorf("lead %s there: %w", m, err)
		}
	}
	return nil
}

// write writes the frames, so that timing them is sending them.
func (l *lane) write(t *traffic, gateway [2]net.HardwareAddr) {
	var host [2]net.HardwareAddr
	for i, s := range laneTopology().Segments {
		host[i], _ = net.ParseMAC(s.Hosts[0].MAC) // a constant of this file
	}
	nobody := net.HardwareAddr{2, 0, 0, 0, 0, 0x99}
	for _, f := range t.flows {
		l.there = append(l.there, frame(host[0], gateway[0], f, establishedPort))
		l.unseen = append(l.unseen, frame(host[0], nobody, f, establishedPort))
		l.scratch = append(l.scratch, frame(host[0], gateway[0], f, freshPort))
		b, port := answer(f, establishedPort)
		l.back = append(l.back, frame(host[1], gateway[1], b, port))
	}
	for _, f := range t.denied {
		l.denied = append(l.denied, frame(host[0], gateway[0], f, deniedPort))
	}
}

// fresh gives first packets of flows that nobody has sent yet. They are good until
// the next call.
func (l *lane) fresh(round, n int) [][]byte {
	at := round * n % len(l.scratch)
	if at+n > len(l.scratch) {
		at = 0
	}
	out := l.scratch[at : at+n]
	for _, b := range out {
		setPort(b, freshPort+uint16(round))
	}
	return out
}

// refused gives first packets of flows that are denied.
func (l *lane) refused(round int) [][]byte {
	for _, b := range l.denied {
		setPort(b, deniedPort+uint16(round))
	}
	return l.denied
}

// install loads the lane's rules.
func (l *lane) install(ctx context.Context, s *site) error {
	if l.name == laneBare {
		return l.nft(ctx, "table inet bare { chain forward { type filter hook forward priority 0; policy drop; ct state established,related accept; accept; }; }")
	}
	s.point = gateway()
	if l.name == laneSpoof {
		for i := range s.point.Zones {
			z := &s.point.Zones[i]
			z.Known, z.Masks, z.AntiSpoof = true, l.masks[i], compile.SpoofEnforce
		}
	}
	if _, err := s.layout(); err != nil {
		return err
	}
	s.open(l.net.Gateway.Path)
	if err := s.render(); err != nil {
		return err
	}
	return s.load(ctx)
}

func (l *lane) nft(ctx context.Context, script string) error {
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	cmd.Stdin = strings.NewReader(script)
	var said strings.Builder
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := l.net.Gateway.Run(cmd); err != nil {
		return fmt.Errorf("nft: %w: %s", err, said.String())
	}
	return nil
}

// check sends sampled flows and believes the receiver alone.
func (l *lane) check(ctx context.Context, r *harness.Recorder, t *traffic) error {
	p, err := lab.NewProber(l.net)
	if err != nil {
		return err
	}
	defer p.Close()
	probe := func(f estate.Flow) lab.Probe {
		return lab.Probe{From: "left", To: "right", Src: f.Src, Dst: f.Dst, Proto: unix.IPPROTO_UDP, Num: f.Port}
	}
	var probes []lab.Probe
	for _, f := range append(t.sample(t.flows), t.sample(t.denied)...) {
		probes = append(probes, probe(f))
	}
	permitted := len(t.sample(t.flows))
	var spoofed []lab.Probe
	for _, f := range t.sample(t.flows)[:5] {
		f.Src, f.Dst = f.Dst, f.Src // comes from the left and says it is from the right
		q := probe(f)
		q.Dst = t.flows[0].Dst
		spoofed = append(spoofed, q)
	}
	results, err := p.Run(ctx, probes, lab.ProbeOptions{})
	if err != nil {
		return err
	}
	wrong := 0
	for i := range results {
		if want := i < permitted || l.name == laneBare; results[i].Got != want {
			wrong++
		}
	}
	if l.name == laneBare {
		r.Check(wrong == 0, "%s: all of %d sampled flows arrive", l.name, len(probes))
		return nil
	}
	r.Check(wrong == 0, "%s: %d sampled flows that are permitted arrive, %d that are denied do not", l.name, permitted, len(probes)-permitted)
	if l.name == laneSpoof {
		results, err = p.Run(ctx, spoofed, lab.ProbeOptions{})
		for i := range results {
			r.Check(!results[i].Got, "%s: a source of the other side does not arrive", l.name)
		}
	}
	return err
}

// open sends the first packets of the flows and their answers.
func (l *lane) open(ctx context.Context, r *harness.Recorder, t *traffic) error {
	before := l.arrived()
	if err := l.left.send(l.there); err != nil {
		return err
	}
	l.settled(before, len(l.there))
	if err := l.right.send(l.back); err != nil {
		return err
	}
	time.Sleep(100 * time.Millisecond) // for the last answers, if the kernel is behind
	c, err := kernel.Open(l.net.Gateway.Path)
	if err != nil {
		return err
	}
	defer c.Close()
	flows, err := c.ListFlows(ctx, 0, 0, 0)
	if err != nil {
		return err
	}
	const seenReply = 1 << 1 // IPS_SEEN_REPLY
	n := 0
	for i := range flows {
		f := &flows[i]
		marked := f.Mark&render.VerdictMask == render.VerdictBase
		if f.Orig.SrcPort == establishedPort && f.Status&seenReply != 0 && marked == (l.name != laneBare) {
			n++
		}
	}
	r.Check(n == len(t.flows), "%s: %d flows are established", l.name, len(t.flows))
	return nil
}

// timed sends frames and tells the CPU seconds that this took the calling thread,
// which must be locked, and the kernel's own. It waits for as many arrivals as there
// are to be, and tells how many there were.
func (l *lane) timed(frames [][]byte, want int) (spent float64, got int, err error) {
	before, others := l.arrived(), l.kernel.seconds()
	from, err := threadTime()
	if err == nil {
		err = l.left.send(frames)
	}
	to, terr := threadTime()
	if err = cmp.Or(err, terr); err != nil {
		return 0, 0, err
	}
	got = l.settled(before, want)
	return (to - from).Seconds() + l.kernel.seconds() - others, got, nil
}

// settled waits until as many packets have arrived as there are to be: the kernel
// may not be through with the last ones when the call that sent them is back.
func (l *lane) settled(before, want int) (got int) {
	for range 200 {
		if got = l.arrived() - before; got >= want {
			break
		}
		time.Sleep(time.Millisecond)
	}
	return got
}

// arrived tells how many packets the receiver's interface has got.
func (l *lane) arrived() (n int) {
	_ = l.net.Host("right").Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			n = int(link.Attrs().Statistics.RxPackets)
		}
		return err
	}) // without an answer it is 0, and the check fails
	return n
}
