package demo

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"text/tabwriter"
	"time"

	"golang.org/x/crypto/ssh"

	"bulkhead/drivers/netconf/dialect"
	"bulkhead/drivers/netconf/netconftest/yuma"
	"bulkhead/drivers/netconf/session"
	"bulkhead/pkg/config"
	"bulkhead/pkg/lab"
	"bulkhead/pkg/lab/ovs"
	"bulkhead/pkg/policy"
)

// switched is a run of the demo with a switch: Open vSwitch forwards the packets, netconfd
// behind sshd keeps the configuration, and follow carries its lists into the switch.
type switched struct {
	*demo
	server *yuma.Server
	sw     *ovs.Switch
	follow *ovs.Follower
	// trial is how long the change waits that nobody confirms.
	trial time.Duration
}

// device is an asset behind a port of the switch, the first one behind swp1.
type device struct{ id, four, six string }

func devices() []device {
	return []device{{"hmi-1", "10.20.3.10", "2001:db8:3::10"}, {"plc-1", "10.20.3.11", "2001:db8:3::11"}, {"plc-2", "10.20.3.12", "2001:db8:3::12"}}
}

// The site of the demo. It is written here and not among the examples because the address
// of its switch is another one on each run.
const (
	switchSite = `name: hall
points:
  sw1:
    driver: netconf
    protects: 'labels.hall == "3"'
    # What lists on ports cannot say whatever one does: docs/switches.md has the table.
    accept_inexact: [stateless-return, fragment]
    settings:
      address: %q
      user: %q
      key: {file: %q}
      known_hosts: %q
      dialect: ietf
      egress: true
limits:
  newly_denied_percent: 100
`
	switchPolicy = `groups:
  hmis: {where: 'labels.role == "hmi"', isolate: both}
  plcs: {where: 'labels.role == "plc"', isolate: both}
services:
  s7: tcp/102
  opcua: tcp/4840
policies:
  - {name: hmi-reads-plcs, from: hmis, to: plcs, services: s7, action: allow}
`
)

// start starts the server and the switch, and writes the site. All of it is inside of the
// switch's own namespace, where Bulkhead runs too.
func (s *switched) start(ctx context.Context) (err error) {
	var hosts []lab.Host
	var ports []string
	for i, d := range devices() {
		hosts = append(hosts, lab.Host{Name: d.id, Addresses: []netip.Prefix{netip.MustParsePrefix(d.four + "/24"), netip.MustParsePrefix(d.six + "/64")}})
		ports = append(ports, lab.Port(i))
	}
	if s.sw, err = ovs.New(ctx, ovs.Options{Hosts: hosts}); err != nil {
		return err
	}
	s.net = s.sw.Net
	s.stop = s.close
	if err := s.net.Gateway.Do(func() (err error) {
		s.server, err = yuma.Start(yuma.Options{Running: yuma.Interfaces(ports...)})
		return err
	}); err != nil {
		return fmt.Errorf("start the NETCONF server: %w", err)
	}
	s.follow = s.sw.Follow(s.running)
	return s.write()
}

// close ends the server and the switch, and takes the network away with it.
func (s *switched) close() error {
	if s.server != nil {
		s.server.Close()
	}
	s.net = nil
	return s.sw.Close()
}

func (s *switched) known() string { return filepath.Join(s.dir, "known_hosts") }

// write writes the site.
func (s *switched) write() error {
	key := filepath.Join(s.dir, "switch.key")
	var assets strings.Builder
	assets.WriteString("assets:\n")
	for i, d := range devices() {
		role, _, _ := strings.Cut(d.id, "-")
		fmt.Fprintf(&assets, "  %s: {kind: ot, addresses: [%s, %q], labels: {role: %s, hall: \"3\"}, attachments: [{switch: sw1, port: %s}]}\n",
			d.id, d.four, d.six, role, lab.Port(i))
	}
	if err := os.MkdirAll(s.siteDir(), 0o755); err != nil {
		return err
	}
	for path, text := range map[string]string{
		key: s.server.Key(),
		filepath.Join(s.siteDir(), "bulkhead.yaml"): fmt.Sprintf(switchSite, s.server.Address(), s.server.User(), key, s.known()),
		filepath.Join(s.siteDir(), "assets.yaml"):   assets.String(),
		filepath.Join(s.siteDir(), "policy.yaml"):   switchPolicy,
	} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return fmt.Errorf("write the demo's site: %w", err)
		}
	}
	return nil
}

// fingerprint is what the switch would show of its host key on its console.
func (s *switched) fingerprint() (string, error) {
	_, _, key, _, _, err := ssh.ParseKnownHosts([]byte(s.server.KnownHost()))
	if err != nil {
		return "", fmt.Errorf("the server's host key: %w", err)
	}
	return ssh.FingerprintSHA256(key), nil
}

// running reads the lists that the server has in force, by a session that has nothing to do
// with Bulkhead's.
func (s *switched) running(ctx context.Context) (doc []byte, err error) {
	known := filepath.Join(s.dir, "known_hosts.lab")
	if err := os.WriteFile(known, []byte(s.server.KnownHost()), 0o600); err != nil {
		return nil, err
	}
	options := session.Options{Address: s.server.Address(), User: s.server.User(), Key: config.NewValue(s.server.Key()), KnownHosts: known, Point: "sw1"}
	var c *session.Session
	// The address is literal, so the dialer stays on this thread.
	if err := s.net.Gateway.Do(func() (err error) {
		c, err = session.Dial(ctx, options)
		return err
	}); err != nil {
		return nil, err
	}
	defer c.Close()
	return c.GetConfig(ctx, session.Running, dialect.Named("ietf").Filter())
}

// exchange is what is tried between every two devices.
type exchange struct {
	name string
	kind lab.TalkKind
	port uint16
}

func exchanges() []exchange {
	return []exchange{{"tcp/102", lab.Connect, 102}, {"tcp/4840", lab.Connect, 4840}, {"udp/102", lab.Echo, 102}, {"ping", lab.Ping, 0}}
}

// flow is the exchange's first packet, for the policy.
func (e exchange) flow(src, dst netip.Addr) policy.Flow {
	f := policy.Flow{Src: src, Dst: dst, Proto: 6, Num: e.port}
	switch {
	case e.kind == lab.Echo:
		f.Proto = 17
	case e.kind == lab.Ping && dst.Is4():
		f.Proto, f.Num = 1, 8<<8
	case e.kind == lab.Ping:
		f.Proto, f.Num = 58, 128<<8
	}
	return f
}

// compare lets every device talk to every other one in every way, over IPv4 and IPv6, prints
// what worked, and holds it against the policy. open is before anything is enforced: all
// must work.
func (s *switched) compare(ctx context.Context, open bool) error {
	if _, err := s.follow.Sync(ctx); err != nil {
		return err
	}
	if !open {
		if err := s.tamper(ctx); err != nil {
			return err
		}
	}
	var talks []lab.Talk
	for _, from := range devices() {
		for _, to := range devices() {
			for _, e := range exchanges() {
				for _, four := range []bool{true, false} {
					if from.id == to.id {
						continue
					}
					src, dst := s.net.Addr(from.id, four), s.net.Addr(to.id, four)
					want := open || s.site.World.Decide(e.flow(src, dst)).Permit
					talks = append(talks, lab.Talk{Kind: e.kind, From: from.id, Dst: dst, Port: e.port, Want: want})
				}
			}
		}
	}
	works, err := s.net.Talk(ctx, talks)
	if err != nil {
		return fmt.Errorf("let the devices talk: %w", err)
	}
	return s.verdicts(talks, works)
}

// tamper breaks the lists of the switch behind the server's back, where the demo is to do so.
func (s *switched) tamper(ctx context.Context) error {
	switch s.opt.Break {
	case BreakOpen:
		return s.sw.SetACLs(ctx, nil)
	case BreakClose:
		return s.sw.SetACLs(ctx, ovs.ACLs{{Port: 1, Direction: ovs.In, Drop4: true, Drop6: true}})
	}
	return nil
}

// verdicts prints a line for each pair of devices; talks are in the order of compare.
func (s *switched) verdicts(talks []lab.Talk, works []bool) error {
	w := tabwriter.NewWriter(s.opt.Out, 0, 0, 2, ' ', 0)
	fmt.Fprint(w, "     ")
	for _, e := range exchanges() {
		fmt.Fprintf(w, "\t%s", e.name)
	}
	wrong, both := 0, 2*len(exchanges())
	for i := range talks {
		if i%both == 0 {
			fmt.Fprintf(w, "\n     %s -> %s", talks[i].From, s.net.Owner(talks[i].Dst))
		}
		if i%2 == 1 { // IPv4 and IPv6 of one exchange
			fmt.Fprintf(w, "\t%s", verdict(works[i-1], talks[i-1].Want, works[i], talks[i].Want))
		}
		wrong += number(works[i] != talks[i].Want)
	}
	fmt.Fprintln(w)
	if err := w.Flush(); err != nil {
		return err
	}
	if wrong > 0 {
		return fmt.Errorf("%w: %d of %d exchanges", ErrDisagree, wrong, len(talks))
	}
	s.say("%d exchanges, over IPv4 and IPv6: every one as it must be.", len(talks))
	return nil
}

// verdict says what became of an exchange over IPv4 and over IPv6.
func verdict(four, want4, six, want6 bool) string {
	word := map[bool]string{true: "works", false: "-"}
	out := word[four]
	if four != six {
		out = fmt.Sprintf("%s (IPv6: %s)", word[four], word[six])
	}
	if four != want4 || six != want6 {
		out += " WRONG"
	}
	return out
}

// errNeeds is wrapped where the demo with a switch cannot run here.
var errNeeds = errors.New("the demo with a switch cannot run here")
